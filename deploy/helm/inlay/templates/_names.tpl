{{- define "inlay.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "inlay.node" -}}{{ include "inlay.fullname" . }}-node{{- end -}}
{{- define "inlay.webhook" -}}{{ include "inlay.fullname" . }}-webhook{{- end -}}
{{- define "inlay.namespace" -}}{{ default .Release.Namespace .Values.namespaceOverride }}{{- end -}}

{{- define "inlay.node.account" -}}
{{- if .Values.node.serviceAccount.create -}}
{{- default (include "inlay.node" .) .Values.node.serviceAccount.name -}}
{{- else -}}
{{- required "node.serviceAccount.name: the name of an account that exists, or node.serviceAccount.create" .Values.node.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "inlay.webhook.account" -}}
{{- if .Values.webhook.serviceAccount.create -}}
{{- default (include "inlay.webhook" .) .Values.webhook.serviceAccount.name -}}
{{- else -}}
{{- required "webhook.serviceAccount.name: the name of an account that exists, or webhook.serviceAccount.create" .Values.webhook.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What pods are selected by; it never changes. */}}
{{- define "inlay.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{/* Labels of every object. Takes root, and name: inlay-node, inlay-webhook or inlay-kinds; and labels of this object alone:
more, which beat commonLabels, and ours, which do not. */}}
{{- define "inlay.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ trimPrefix "inlay-" .name }}
app.kubernetes.io/part-of: inlay
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- with merge (dict) (default dict (get . "more")) (default dict .root.Values.commonLabels) (default dict (get . "ours")) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "inlay.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}
{{- end -}}

{{/* nri.mode. An unquoted off in a file is false: YAML's word for it. */}}
{{- define "inlay.nri" -}}
{{- if kindIs "bool" .Values.nri.mode }}off{{ else }}{{ .Values.nri.mode }}{{ end -}}
{{- end -}}

{{/* Whether enclaves are offered, and can be held to their pods' limits; empty = no. */}}
{{- define "inlay.enclaves" -}}
{{- if and (ne (include "inlay.nri" .) "off") (or (has "sgx" .Values.families) (has "auto" .Values.families)) }}yes{{ end -}}
{{- end -}}

{{/* The variable by which the collector works harder before the memory limit is met: five sixths of it, in whole MiB.
Takes the resources of a container; nothing where they have no such limit. */}}
{{- define "inlay.gomemlimit" -}}
{{- with .limits }}
{{- with .memory }}
{{- $limit := toString . }}
{{- $unit := regexFind "[A-Za-z]*$" $limit }}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 }}
{{- if not (and (regexMatch "^[0-9.]+(e[+][0-9]+)?[A-Za-z]*$" $limit) (hasKey $units $unit)) }}
{{- fail (printf "limits.memory %s: write a number of bytes, or one with k, M, G, T, Ki, Mi, Gi or Ti" $limit) }}
{{- end }}
{{- $bytes := mulf (trimSuffix $unit $limit | float64) (get $units $unit | float64) }}
- name: GOMEMLIMIT
  value: {{ printf "%.0fMiB" (floor (divf (mulf $bytes 5.0) 6.0 1048576.0)) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Whether families are offered that need more folders of the host than FPGAs and SGX do; empty = no. */}}
{{- define "inlay.others" -}}
{{- if without .Values.families "fpga" "sgx" }}yes{{ end -}}
{{- end -}}

{{/* Whether a configuration file is looked for; empty = no. */}}
{{- define "inlay.config" -}}
{{- if or .Values.config (include "inlay.others" .) }}yes{{ end -}}
{{- end -}}

{{/* Where the hardware is seen. Parts of /sys, so that neither control groups nor debugfs come along. Takes writable:
whether VFs of QAT cards are bound from here. */}}
{{- define "inlay.hardware" -}}
{{- $writable := .writable }}
{{- range list "class" "bus" "dev" "devices" }}
- name: sys-{{ . }}
  mountPath: /host/sys/{{ . }}
  {{- if not (and $writable (eq . "devices")) }}
  readOnly: true
  recursiveReadOnly: IfPossible
  {{- end }}
{{- end }}
- name: dev
  mountPath: /host/dev
  readOnly: true
  recursiveReadOnly: IfPossible
{{- end -}}

{{/* The store, where it is not the usual one: the hook on the host must be told. */}}
{{- define "inlay.bitstreams" -}}
{{- if ne .Values.node.paths.bitstreams "/srv/intel.com/fpga" }}{{ .Values.node.paths.bitstreams }}{{ end -}}
{{- end -}}
