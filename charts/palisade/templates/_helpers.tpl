{{- define "palisade.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "palisade.labels" -}}
app.kubernetes.io/name: palisade
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
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

{{/* What the entries of the webhook configuration have in common. */}}
{{- define "palisade.webhookDefaults" -}}
admissionReviewVersions: [v1]
sideEffects: None
matchPolicy: Equivalent
timeoutSeconds: {{ .Values.webhook.timeoutSeconds }}
clientConfig:
  # No caBundle: the webhook writes and renews it, and an upgrade leaves its field alone.
  service: {name: palisade-webhook, namespace: {{ .Release.Namespace }}, path: /validate, port: 443}
namespaceSelector:
  matchExpressions:
    # Else the webhook could not start where it is not running yet.
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: {{ append .Values.webhook.exemptNamespaces .Release.Namespace | uniq | toJson }}
{{- end }}
