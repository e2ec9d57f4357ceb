{{- define "palisade.image" -}}
{{- include "palisade.mirrored" (dict "image" (printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion)) "registry" .Values.imageRegistry) }}
{{- end }}

{{/* An image as the cluster's own registry has it: what comes before the first slash is a registry where it has a dot or a port, or is localhost. */}}
{{- define "palisade.mirrored" -}}
{{- if not .registry -}}
{{ .image }}
{{- else -}}
{{- $parts := splitn "/" 2 .image }}
{{- if and $parts._1 (or (contains "." $parts._0) (contains ":" $parts._0) (eq $parts._0 "localhost")) -}}
{{ .registry }}/{{ $parts._1 }}
{{- else -}}
{{ .registry }}/{{ .image }}
{{- end }}
{{- end }}
{{- end }}

{{- define "palisade.agentImage" -}}
{{- include "palisade.mirrored" (dict "image" .Values.agentImage "registry" .Values.imageRegistry) }}
{{- end }}

{{/* Where a program's pods go: `component` and the chart's root as `root`. One that has no second pod is kept apart from nobody. */}}
{{- define "palisade.scheduling" -}}
{{- $s := .root.Values.scheduling }}
{{- with $s.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $s.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $s.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if or (ne .component "operator") (gt (int .root.Values.operator.replicas) 1) }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              app.kubernetes.io/instance: {{ .root.Release.Name }}
              app.kubernetes.io/component: {{ .component }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: {{ $s.topologySpread.topologyKey }}
    whenUnsatisfiable: {{ $s.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        app.kubernetes.io/instance: {{ .root.Release.Name }}
        app.kubernetes.io/component: {{ .component }}
{{- end }}
{{- end }}

{{/* Egress rules to the API server and to the DNS, of Palisade's own pods. */}}
{{- define "palisade.toApiServer" -}}
- to: {{- toYaml .to | nindent 4 }}
  ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}
{{- define "palisade.toDns" -}}
- to: {{- toYaml . | nindent 4 }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{/* Traces of operator and webhook: their arguments, and what these name. */}}
{{- define "palisade.tracingArgs" -}}
{{- with .Values.tracing }}
{{- if .endpoint }}
- {{ printf "--otlp-endpoint=%s" .endpoint | quote }}
- --trace-ratio={{ .ratio }}
{{- if .ca }}
- --otlp-ca-file=/etc/palisade/otlp-ca.pem
{{- end }}
{{- if .headersSecret }}
- --otlp-headers-file=/etc/palisade-otlp/headers
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "palisade.tracingMount" -}}
{{- if and .Values.tracing.endpoint .Values.tracing.headersSecret }}
- {name: otlp-headers, mountPath: /etc/palisade-otlp, readOnly: true}
{{- end }}
{{- end }}

{{- define "palisade.tracingVolume" -}}
{{- with .Values.tracing }}
{{- if and .endpoint .headersSecret }}
- name: otlp-headers
  secret:
    secretName: {{ .headersSecret.name }}
    defaultMode: 0440
    items: [{key: {{ .headersSecret.key | quote }}, path: headers}]
{{- end }}
{{- end }}
{{- end }}

{{/* Egress to the collector; its name is looked up. */}}
{{- define "palisade.toCollector" -}}
{{- if .Values.tracing.endpoint }}
{{- if not .Values.networkPolicy.tracing }}
{{- fail "tracing.endpoint: name the collector in networkPolicy.tracing, too, as egress rules; or set networkPolicy.enabled to false" }}
{{- end }}
{{- toYaml .Values.networkPolicy.tracing }}
{{- end }}
{{- end }}

{{- define "palisade.labels" -}}
app.kubernetes.io/name: palisade
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* The labels of what others find by labels of their own: `more` goes before the chart's, as `root`. */}}
{{- define "palisade.monitorLabels" -}}
{{- toYaml (mergeOverwrite (include "palisade.labels" .root | fromYaml) (deepCopy .more)) }}
{{- end }}

{{/* The settings that pods are judged by: with the gateway, its audience is one that a relay's token may have. */}}
{{- define "palisade.policy" -}}
{{- $policy := deepCopy (.Values.policy | default dict) }}
{{- if .Values.gateway.enabled }}
{{- $_ := set $policy "allowedTokenAudiences" (append ($policy.allowedTokenAudiences | default list) .Values.gateway.audience | uniq) }}
{{- end }}
{{- toJson $policy }}
{{- end }}

{{/* gateway.json: the values' document, and what the chart knows itself. */}}
{{- define "palisade.gatewayConfig" -}}
{{- $git := dict "spool" "/spool" }}
{{- if .Values.gitCA }}
{{- $_ := set $git "authorities" .Values.gitCA }}
{{- end }}
{{- $own := dict "audience" .Values.gateway.audience }}
{{- with .Values.gateway.archive }}
{{- if .enabled }}
{{- $archive := dict "sessionBytes" (int64 .sessionBytes) }}
{{- if include "palisade.archiveBucket" $ }}
{{- $s3 := pick .s3 "endpoint" "region" "bucket" "prefix" }}
{{- $_ := set $archive "s3" (merge $s3 (dict "credentials" "/etc/palisade-s3" "authorities" .s3.ca)) }}
{{- else }}
{{- $_ := merge $archive (dict "directory" "/archive" "retentionDays" (int64 .retentionDays)) }}
{{- end }}
{{- $_ := set $own "archive" $archive }}
{{- end }}
{{- end }}
{{- toJson (mergeOverwrite (dict "git" $git) (deepCopy .Values.gateway.config) $own) }}
{{- end }}

{{/* Whether the gateway's archive is in a bucket: "true" or nothing. */}}
{{- define "palisade.archiveBucket" -}}
{{- with .Values.gateway.archive }}
{{- if and .enabled .s3.endpoint }}
{{- if not .s3.bucket }}
{{- fail "gateway.archive.s3.bucket: is missing" }}
{{- end }}
{{- if not .s3.credentialsSecret }}
{{- fail "gateway.archive.s3.credentialsSecret: name the Secret with accessKeyID and secretAccessKey" }}
{{- end }}
{{- if .pvc.existingClaim }}
{{- fail "gateway.archive.s3: there is gateway.archive.pvc.existingClaim, too: take one of both" }}
{{- end }}
{{- if .retentionDays }}
{{- fail "gateway.archive.retentionDays: is for a volume; with s3 set it to 0, and give the bucket a lifecycle rule (docs/archive.md)" }}
{{- end }}
{{- print "true" }}
{{- end }}
{{- end }}
{{- end }}

{{/* The same for a volume. */}}
{{- define "palisade.archiveVolume" -}}
{{- if and .Values.gateway.archive.enabled (not (include "palisade.archiveBucket" .)) }}
{{- print "true" }}
{{- end }}
{{- end }}

{{/* Where it is, as people are told. */}}
{{- define "palisade.archiveLocation" -}}
{{- if include "palisade.archiveBucket" . }}
{{- with .Values.gateway.archive.s3 }}
{{- printf "s3://%s" (list .bucket .prefix | compact | join "/") }}
{{- end }}
{{- else }}
{{- printf "pvc://%s/%s" .Values.gateway.namespace (include "palisade.archiveClaim" .) }}
{{- end }}
{{- end }}

{{/* The port of its endpoint. */}}
{{- define "palisade.archivePort" -}}
{{- regexFind ":[0-9]+$" .Values.gateway.archive.s3.endpoint | trimPrefix ":" | default "443" }}
{{- end }}

{{/* The claim on which the gateway's archive is. */}}
{{- define "palisade.archiveClaim" -}}
{{- .Values.gateway.archive.pvc.existingClaim | default "palisade-archive" }}
{{- end }}

{{/* Whether two pods may have the archive's volume at a time. */}}
{{- define "palisade.archiveAlone" -}}
{{- with .Values.gateway.archive }}
{{- if and (include "palisade.archiveVolume" $) (ne .pvc.accessMode "ReadWriteMany") }}
{{- if gt (int $.Values.gateway.replicas) 1 }}
{{- fail (printf "gateway.archive.pvc.accessMode: %s is for one replica; take ReadWriteMany (and a StorageClass that has it), or set gateway.replicas to 1" .pvc.accessMode) }}
{{- end }}
{{- print "true" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Subjects of the readers' bindings. */}}
{{- define "palisade.readers" -}}
{{- range .Values.readers.users }}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: {{ toJson . }}}
{{- end }}
{{- range .Values.readers.groups }}
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: {{ toJson . }}}
{{- end }}
{{- end }}

{{/* A pod's fields that are the same for every program of Palisade: its own hardening. */}}
{{- define "palisade.podHardening" -}}
automountServiceAccountToken: false
enableServiceLinks: false
hostUsers: {{ not .Values.userNamespace }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "palisade.containerHardening" -}}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The API server token, mounted by hand: short-lived, and in this container alone. */}}
{{- define "palisade.tokenVolume" -}}
- name: api-access
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- end }}
{{- define "palisade.tokenMount" -}}
- {name: api-access, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{/* What the entries of the webhook configurations have in common. */}}
{{- define "palisade.webhookDefaults" -}}
admissionReviewVersions: [v1]
# Events of used exceptions.
sideEffects: NoneOnDryRun
matchPolicy: Equivalent
timeoutSeconds: {{ .Values.webhook.timeoutSeconds }}
clientConfig:
  # No caBundle: the webhook writes and renews it, and an upgrade leaves its field alone.
  service: {name: palisade-webhook, namespace: {{ .Release.Namespace }}, path: {{ .path | default "/validate" }}, port: 443}
{{- end }}

{{/* By name, and not by a label that could be set: else the webhook could not start where it is not running yet. */}}
{{- define "palisade.notExempt" -}}
- name: not-exempt
  expression: >-
    !(request.namespace in {{ append .Values.webhook.exemptNamespaces .Release.Namespace | uniq | toJson }})
{{- end }}

{{/* The volume of the API server's client authority; empty where none is asked for. */}}
{{- define "palisade.clientCA" -}}
{{- with .Values.webhook.clientCA }}
{{- if and .configMap .secret }}
{{- fail "webhook.clientCA: give configMap or secret, not both" }}
{{- end }}
{{- if and .names (not (or .configMap .secret)) }}
{{- fail "webhook.clientCA.names without configMap or secret would let everyone in" }}
{{- end }}
{{- if .configMap }}
- name: client-ca
  configMap:
    name: {{ .configMap }}
    items: [{key: {{ .key }}, path: ca.crt}]
{{- else if .secret }}
- name: client-ca
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
    items: [{key: {{ .key }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end }}

{{/* What cert-manager needs to see on the webhook's configurations. */}}
{{- define "palisade.webhookAnnotations" -}}
{{- if .Values.webhook.certManager.enabled }}
annotations:
  cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/palisade-webhook
{{- end }}
{{- end }}
