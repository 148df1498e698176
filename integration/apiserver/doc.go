// Package apiserver gives a test a Kubernetes API server of its own: etcd and kube-apiserver on loopback addresses
// that no other test uses, up in a few seconds and gone without a trace.
//
//	c := apiserver.Start(t, apiserver.Options{})
//	ns := c.Namespace(t)                              // a new namespace with its default ServiceAccount
//	c.Kubectl(t, "apply", "-k", "deploy/crds")        // fails the test if kubectl does
//	c.Apply(t, yaml)                                  // kubectl apply -f - with yaml on stdin
//	r := c.Admin().Try(t.Context(), yaml, "create", "-n", ns, "-f", "-")   // r.Stdout, r.Stderr, r.Err: may fail on purpose
//	config := c.ServiceAccount(t, "inlay-system", "inlay-webhook", apiserver.Bound{})   // path of a kubeconfig
//	c.As(config).Run(t, "auth", "whoami")             // kubectl with that kubeconfig
//	client := kubernetes.NewForConfigOrDie(c.RESTConfig())               // Go clients; limits are off
//
// Without a test, New and Close do the same for programs and for a TestMain whose tests share one cluster.
//
// There are no nodes: pods are stored and never run. Options.Controllers adds a kube-controller-manager that makes the
// pods of ReplicaSets and looks after service accounts.
//
// Proxy stands in for kube-proxy and the kubelet's readiness probes. The service range lies inside 127.0.0.0/8, so the
// API server reaches the ClusterIP of a Service on the loopback interface, and a Proxy listens there and sends each new
// connection to one of the replicas whose probe succeeds:
//
//	p := c.Proxy(t, "inlay-system", "inlay-webhook")   // the Service must exist
//	b := c.Address()                                   // a loopback address of the cluster's own, for one replica
//	// … start the replica with --listen b:9443 --http b:9772 …
//	p.Add(apiserver.Backend{Address: b + ":9443", Ready: "http://" + b + ":9772/readyz"})
//	p.WaitReady(t, 1)
//
// Audit events of pods and mappings, with the annotations of admission webhooks, are read with Audit. Listening on the
// port 443 of a Service needs root; the rest does not.
package apiserver
