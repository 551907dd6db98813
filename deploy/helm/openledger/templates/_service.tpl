{{/* Everything of one service: dict "root" $ "name" "ledger". Whoever joins is a line of the catalogue, and values. */}}
{{- define "openledger.service" -}}
{{ include "openledger.workload" . }}
---
{{ include "openledger.network" . }}
{{- $spec := index .root.Values.services .name }}
{{- if $spec.serviceAccount.create }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "openledger.serviceAccount" . }}
  labels: {{- include "openledger.labels" . | nindent 4 }}
  {{- with $spec.serviceAccount.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- if $spec.pdb.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "openledger.name" . }}
  labels: {{- include "openledger.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ $spec.pdb.maxUnavailable }}
  selector:
    matchLabels: {{- include "openledger.selector" . | nindent 6 }}
{{- end }}
{{- if $spec.autoscaling.enabled }}
---
{{ include "openledger.autoscaling" . }}
{{- end }}
{{- end }}

{{- define "openledger.serviceAccount" -}}
{{- $account := (index .root.Values.services .name).serviceAccount -}}
{{- $account.name | default (ternary (include "openledger.name" .) "default" $account.create) -}}
{{- end }}

{{- define "openledger.workload" -}}
{{- $spec := index .root.Values.services .name -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ include "openledger.name" . }}
  labels: {{- include "openledger.labels" . | nindent 4 }}
spec:
  {{- if not $spec.autoscaling.enabled }}
  replicas: {{ $spec.replicas }}
  {{- end }}
  selector:
    matchLabels: {{- include "openledger.selector" . | nindent 6 }}
  serviceName: {{ include "openledger.name" . }}-headless
  podManagementPolicy: Parallel
  template:
    metadata:
      labels:
        {{- include "openledger.labels" . | nindent 8 }}
        {{- with $spec.podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- with $spec.podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "openledger.podSpec" . | nindent 6 }}
  volumeClaimTemplates:
    - metadata:
        name: data
        labels: {{- include "openledger.selector" . | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $spec.persistence.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources: { requests: { storage: {{ $spec.persistence.size }} } }
{{- end }}

{{/* Where it is called: by all replicas' common address, and each by its own. */}}
{{- define "openledger.network" -}}
{{- $spec := index .root.Values.services .name -}}
{{- $port := (index (include "openledger.catalogue" .root | fromYaml) .name).port -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "openledger.name" . }}
  labels: {{- include "openledger.labels" . | nindent 4 }}
  {{- with $spec.service.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $spec.service.type }}
  {{- if eq .name "openlora" }}
  # A request that is repeated is answered once only by the replica that it was asked of.
  sessionAffinity: ClientIP
  {{- end }}
  selector: {{- include "openledger.selector" . | nindent 4 }}
  ports:
    - { name: grpc, port: {{ $port }}, targetPort: grpc, appProtocol: {{ ternary "https" "kubernetes.io/h2c" .root.Values.tls.enabled }} }
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "openledger.name" . }}-headless
  labels: {{- include "openledger.labels" . | nindent 4 }}
spec:
  clusterIP: None
  # What a replica has written is read also while it does not serve.
  publishNotReadyAddresses: true
  selector: {{- include "openledger.selector" . | nindent 4 }}
  ports:
    - { name: grpc, port: {{ $port }}, targetPort: grpc }
{{- end }}
