{{/*
What operator and gateway may do in a namespace with sessions. A ClusterRole has it for all of them, or, with watchNamespaces, a Role in each of those.
*/}}
{{- define "palisade.operatorRules" -}}
# What it reconciles; delete: finished workspaces go after their ttlAfterFinished.
- apiGroups: [palisade.dev]
  resources: [agentworkspaces]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [palisade.dev]
  resources: [agentworkspaces/status]
  verbs: [patch]
# Pods that wait, what they are made from, and the pools' own finalizer.
- apiGroups: [palisade.dev]
  resources: [agentworkspacepools]
  verbs: [get, list, watch, patch]
- apiGroups: [palisade.dev]
  resources: [agentworkspacepools/status]
  verbs: [patch]
- apiGroups: [palisade.dev]
  resources: [agentworkspacetemplates]
  verbs: [get, list, watch]
# blockOwnerDeletion on what it makes.
- apiGroups: [palisade.dev]
  resources: [agentworkspaces/finalizers, agentworkspacepools/finalizers]
  verbs: [update]
# A session's objects. No update and no deletecollection: apply is a patch, deletes name one object.
- apiGroups: [""]
  resources: [pods, serviceaccounts, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Volumes of workspaces with spec.storage, and what setups have made (spec.setup).
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
{{ include "palisade.operatorSecrets" . }}
{{ include "palisade.serviceRules" . }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- define "palisade.operatorSecrets" -}}
# Copies of git tokens (in the gateway's namespace, where git goes through it) and of keys of other gateways, and the user's Secrets that a workspace
# names. Not list and not watch: nothing is read that was not named.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch, delete]
{{- end }}

{{/* In its gateway's namespace, where it is in no watched one: tokens of sessions, and what it needs to send them there. */}}
{{- define "palisade.operatorGatewayRules" -}}
{{ include "palisade.operatorSecrets" . }}
- apiGroups: [""]
  resources: [services]
  resourceNames: [palisade-gateway]
  verbs: [get]
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [palisade-gateway-ca]
  verbs: [get]
{{- end }}

{{- define "palisade.gatewayRules" -}}
# What the workspace of a session may use, and whether its pod still lives.
- apiGroups: [palisade.dev]
  resources: [agentworkspaces]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# That a workspace's budget is spent, told there.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{/* The labels of the namespace that a Role is in, which AgentPolicies select by; no Role lets anybody list or watch it. */}}
{{- define "palisade.ownNamespace" -}}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end }}

{{/* Which addresses no session may reach. */}}
{{- define "palisade.apiAddressRules" -}}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list]
{{- if .Values.watchNamespaces }}
- apiGroups: [""]
  resources: [services]
  resourceNames: [kubernetes]
  verbs: [get]
{{- end }}
{{- end }}
{{- define "palisade.dnsAddressRules" -}}
- apiGroups: [""]
  resources: [services]
  resourceNames: [kube-dns]
  verbs: [get]
{{- end }}

{{- define "palisade.serviceRules" -}}
# A gateway or git host inside the cluster becomes its Service's address and pods.
- apiGroups: [""]
  resources: [services]
  verbs: [get]
{{- end }}

{{/* A Role and who has it: `root`, `name`, `ns`, `rules` (text), and whose it is, `account` in `accountNs`. */}}
{{- define "palisade.role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}
  namespace: {{ .ns }}
  labels: {{- include "palisade.labels" .root | nindent 4 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .ns }}
  labels: {{- include "palisade.labels" .root | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ .name }}}
subjects:
  - {kind: ServiceAccount, name: {{ .account }}, namespace: {{ .accountNs }}}
{{- end }}

{{/* Namespaces that the programs keep to, a,b,c; empty: all. What the webhook does not judge nothing would guard. */}}
{{- define "palisade.watchNamespaces" -}}
{{- $unguarded := append .Values.webhook.exemptNamespaces .Release.Namespace }}
{{- range .Values.watchNamespaces }}
{{- if has . $unguarded }}
{{- fail (printf "watchNamespaces: the webhook does not judge pods in namespace %s (webhook.exemptNamespaces and the release's own): name another" .) }}
{{- end }}
{{- if and $.Values.gateway.enabled (eq . $.Values.gateway.namespace) }}
{{- fail (printf "watchNamespaces: namespace %s is the gateway's and holds its keys, no session runs there: name another" .) }}
{{- end }}
{{- end }}
{{- join "," .Values.watchNamespaces }}
{{- end }}

{{/* Where Services are that the operator looks up, beside those in watched namespaces and its own gateway's: as JSON. */}}
{{- define "palisade.serviceNamespaces" -}}
{{- $out := .Values.operator.serviceNamespaces | default list }}
{{- range .Values.llmGateways }}
{{- if ne .url "palisade" }}
{{- $host := regexReplaceAll ":[0-9]+$" (urlParse .url).host "" | splitList "." }}
{{- if and (gt (len $host) 2) (eq (index $host 2) "svc") }}
{{- $out = append $out (index $host 1) }}
{{- end }}
{{- end }}
{{- end }}
{{- without ($out | uniq | sortAlpha) "" | toJson }}
{{- end }}
