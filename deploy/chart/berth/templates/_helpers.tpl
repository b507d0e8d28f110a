{{/* The name of the DaemonSet and of what belongs to it. */}}
{{- define "berth.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "berth.fullname" -}}
{{- default (include "berth.name" .) .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "berth.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "berth.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "berth.labels" -}}
app.kubernetes.io/name: {{ include "berth.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
k8s-app: {{ include "berth.fullname" . }}
{{- end -}}

{{/* The controller's objects do not carry the DaemonSet's label. */}}
{{- define "berth.controllerLabels" -}}
app.kubernetes.io/name: berth-controller
app.kubernetes.io/component: berth-controller
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Pods under another name than aws-node do not carry its label: the selector of a DaemonSet made by EKS has no other. */}}
{{- define "berth.selector" -}}
{{- if .Values.originalMatchLabels -}}
k8s-app: {{ include "berth.fullname" . }}
{{- else -}}
app.kubernetes.io/name: {{ include "berth.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
{{- end -}}

{{/* The reference of an image; the argument is a list of the context and an image group of the values. */}}
{{- define "berth.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $tag := default $root.Chart.AppVersion $image.tag -}}
{{- if $image.override -}}
{{- $image.override -}}
{{- else if $image.overrideRepository -}}
{{- printf "%s:%s" $image.overrideRepository $tag -}}
{{- else if $image.account -}}
{{- printf "%s.dkr.%s.%s.%s/berth-agent:%s" (include "berth.text" $image.account) $image.endpoint $image.region $image.domain $tag -}}
{{- else -}}
{{- printf "berth-agent:%s" $tag -}}
{{- end -}}
{{- end -}}

{{/* What the values ask for and the product cannot do yet: refused by name, with what to do instead. */}}
{{- define "berth.refuse" -}}
{{- if .Values.cniConfig.enabled -}}
{{- fail "cniConfig.enabled=true: the agent writes the CNI configuration itself; set env.ENABLE_BANDWIDTH_PLUGIN, env.POD_MTU or env.AWS_VPC_K8S_CNI_VETHPREFIX instead" -}}
{{- end -}}
{{- if not .Values.hostNetwork -}}
{{- fail "hostNetwork=false: the agent manages the node's own network and must run in it" -}}
{{- end -}}
{{- if and (eq (toString .Values.enableNetworkPolicy) "true") (not .Values.nodeAgent.enabled) -}}
{{- fail "enableNetworkPolicy=true with nodeAgent.enabled=false: no policy would be enforced, and every pod would be open; set one of them otherwise" -}}
{{- end -}}
{{- $later := dict
  "ANNOTATE_POD_IP" "the annotation of pods"
  "ENABLE_IPv6" "IPv6"
  "ENABLE_MULTI_NIC" "multi-NIC"
  "ENABLE_POD_ENI" "security groups for pods"
  "ENABLE_V6_EGRESS" "IPv6 egress" -}}
{{- range $name, $value := .Values.env -}}
{{- if and (hasKey $later $name) (has (lower (toString $value)) (list "true" "t" "1")) -}}
{{- fail (printf "env.%s=%v: %s does not exist yet; the agent would not start" $name $value (get $later $name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A probe. A values file of the existing CNI asks its own health program, which the image does not have. */}}
{{- define "berth.probe" -}}
{{- $probe := deepCopy (index . 0) -}}
{{- if has "/app/grpc-health-probe" (dig "exec" "command" (list) $probe) -}}
{{- $_ := set $probe.exec "command" (index . 1) -}}
{{- end -}}
{{- toYaml (omit $probe "timeoutSeconds") -}}
{{- end -}}

{{/* A value as text: whole numbers without an exponent. */}}
{{- define "berth.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* The environment of the agent: that of the values, before it what follows from other values. No name is there twice. */}}
{{- define "berth.agentEnvironment" -}}
{{- $env := dict "VPC_CNI_VERSION" (default .Chart.AppVersion .Values.image.tag) -}}
{{- if .Values.controller.enabled -}}
{{- $_ := set $env "ENABLE_EC2_SHARE" "true" -}}
{{- end -}}
{{- if eq (toString .Values.enableNetworkPolicy) "true" -}}
{{- $_ := set $env "ENABLE_NETWORK_POLICY" "true" -}}
{{- if eq (toString .Values.nodeAgent.enablePolicyEventLogs) "true" -}}
{{- $_ := set $env "NETWORK_POLICY_EVENT_LOGS" (ternary "all" "denied" (eq (lower .Values.nodeAgent.logLevel) "debug")) -}}
{{- $_ := set $env "NETWORK_POLICY_EVENT_LOG_FILE" (printf "/host%s" .Values.nodeAgent.networkPolicyAgentLogFileLocation) -}}
{{- end -}}
{{- end -}}
{{- $env = mergeOverwrite $env (deepCopy (default dict .Values.env)) -}}
{{- if not .Values.nodeAgent.enabled -}}
{{- $env = omit $env "NETWORK_POLICY_ENFORCING_MODE" -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}

{{/* A map as the environment of a container. A value of null is one that is not there. */}}
{{- define "berth.environment" -}}
{{- range $name, $value := . }}
{{- if not (kindIs "invalid" $value) }}
- name: {{ $name }}
  value: {{ include "berth.text" $value | quote }}
{{- end }}
{{- end }}
{{- end -}}
