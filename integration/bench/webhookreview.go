package main

import (
	"fmt"
	"strings"
)

// review is the AdmissionReview of a usual pod as an API server sends it, some 3 KB: one container that asks for an
// alias and sets three variables, the volume of its ServiceAccount, and what kubectl and the API server add.
func review(uid int, namespace, alias string) []byte {
	return []byte(strings.NewReplacer(
		"{uid}", fmt.Sprintf("705ab4f5-6393-11e8-b7cc-%012d", uid), "{namespace}", namespace, "{alias}", alias,
	).Replace(reviewText))
}

const (
	reviewText = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"{uid}",` +
		`"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},` +
		`"requestKind":{"group":"","version":"v1","kind":"Pod"},"requestResource":{"group":"","version":"v1","resource":"pods"},` +
		`"name":"encoder","namespace":"{namespace}","operation":"CREATE",` +
		`"userInfo":{"username":"anna@example.com","groups":["developers","system:authenticated"],` +
		`"extra":{"authentication.kubernetes.io/credential-id":["JTI=5d3d4e3e-46ae-4c4e-b6cc-8f40ee1b3a3f"]}},` +
		`"object":` + usualPod + `,"oldObject":null,"dryRun":false,"options":{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}}}`

	usualPod = `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"encoder",` +
		`"namespace":"{namespace}","creationTimestamp":null,"labels":{"app":"encoder"},` +
		`"managedFields":[{"manager":"kubectl-create","operation":"Update","apiVersion":"v1","time":"2026-01-01T00:00:00Z",` +
		`"fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:app":{}}},` +
		`"f:spec":{"f:containers":{"k:{\"name\":\"encoder\"}":{".":{},` +
		`"f:env":{".":{},"k:{\"name\":\"LOG_LEVEL\"}":{".":{},"f:name":{},"f:value":{}},"k:{\"name\":\"NODE\"}":{".":{},"f:name":{},` +
		`"f:valueFrom":{".":{},"f:fieldRef":{}}},"k:{\"name\":\"SECRET\"}":{".":{},"f:name":{},"f:valueFrom":{".":{},"f:secretKeyRef":{}}}},` +
		`"f:image":{},"f:imagePullPolicy":{},"f:name":{},"f:resources":{".":{},"f:limits":{".":{},"f:cpu":{},"f:fpga.intel.com/{alias}":{}}},` +
		`"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},"f:restartPolicy":{},"f:schedulerName":{}}}}]},` +
		`"spec":{"volumes":[{"name":"kube-api-access-7xq2m","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},` +
		`{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}},{"downwardAPI":{"items":[{"path":"namespace",` +
		`"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"}}]}}],"defaultMode":420}}],"containers":[{"name":"encoder",` +
		`"image":"registry.example/encoder:1.4.2","args":["--port=8080"],"env":[{"name":"LOG_LEVEL","value":"info"},` +
		`{"name":"NODE","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"spec.nodeName"}}},` +
		`{"name":"SECRET","valueFrom":{"secretKeyRef":{"name":"encoder","key":"token"}}}],` +
		`"resources":{"limits":{"cpu":"2","fpga.intel.com/{alias}":"1"},"requests":{"cpu":"2","fpga.intel.com/{alias}":"1"}},` +
		`"volumeMounts":[{"name":"kube-api-access-7xq2m","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],` +
		`"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],` +
		`"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"default",` +
		`"serviceAccount":"default","securityContext":{},"schedulerName":"default-scheduler","tolerations":[{"key":"node.kubernetes.io/not-ready",` +
		`"operator":"Exists","effect":"NoExecute","tolerationSeconds":300},{"key":"node.kubernetes.io/unreachable","operator":"Exists",` +
		`"effect":"NoExecute","tolerationSeconds":300}],"priority":0,"enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority"},"status":{}}`
)
