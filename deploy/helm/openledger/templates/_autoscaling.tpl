{{/* By CPU, or by what waits for its turn: of the pods (HPA), or asked of Prometheus (KEDA). */}}
{{- define "openledger.autoscaling" -}}
{{- $spec := index .root.Values.services .name -}}{{- $auto := $spec.autoscaling -}}
{{- $target := dict "apiVersion" "apps/v1" "kind" "StatefulSet" "name" (include "openledger.name" .) -}}
{{- if $auto.keda -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ include "openledger.name" . }}
  labels: {{- include "openledger.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {{- toYaml $target | nindent 4 }}
  minReplicaCount: {{ $auto.min }}
  maxReplicaCount: {{ $auto.max }}
  cooldownPeriod: 600
  triggers:
    - type: prometheus
      metadata:
        serverAddress: {{ required (printf "services.%s.autoscaling.prometheus is missing: where KEDA asks" .name) $auto.prometheus | quote }}
        query: sum(openledger_{{ .name }}_queued{namespace="{{ .root.Release.Namespace }}"})
        threshold: {{ $auto.queued | quote }}
{{- else -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "openledger.name" . }}
  labels: {{- include "openledger.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {{- toYaml $target | nindent 4 }}
  minReplicas: {{ $auto.min }}
  maxReplicas: {{ $auto.max }}
  behavior: { scaleDown: { stabilizationWindowSeconds: 600 } }
  metrics:
    {{- if $auto.cpu }}
    - type: Resource
      resource: { name: cpu, target: { type: Utilization, averageUtilization: {{ $auto.cpu }} } }
    {{- end }}
    {{- if $auto.queued }}
    - type: Pods
      pods:
        metric: { name: openledger_{{ .name }}_queued }
        target: { type: AverageValue, averageValue: {{ $auto.queued | quote }} }
    {{- end }}
{{- end }}
{{- end }}
