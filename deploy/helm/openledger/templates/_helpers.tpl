{{/* What is known of each service: where it listens, which keys it has, where its tables are, and whom it calls. */}}
{{- define "openledger.catalogue" -}}
ledger: { port: 7401, keys: [operator.key, operator.password, sessions.pem], postgresql: true, calls: [attribution] }
datanet: { port: 7402, keys: [vault.key], postgresql: true, calls: [ledger, factory] }
factory: { port: 7403, keys: [factory.key], postgresql: true, calls: [datanet, ledger] }
openlora: { port: 7404, keys: [traces.key], postgresql: false, calls: [ledger, datanet] }
attribution: { port: 7405, keys: [attribution.key, attribution-traces.key], postgresql: true, calls: [openlora, ledger, factory] }
{{- end }}

{{- define "openledger.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* Of what is made for one component: dict "root" $ "name" "ledger". */}}
{{- define "openledger.name" -}}{{ include "openledger.fullname" .root }}-{{ .name }}{{- end }}

{{- define "openledger.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "openledger.labels" -}}
{{ include "openledger.selector" . }}
app.kubernetes.io/part-of: openledger
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* By digest where one is given, else by tag. */}}
{{- define "openledger.image" -}}
{{- $own := (index .root.Values.services .name).image -}}
{{- $image := default (printf "openledger-%s" .name) $own.name -}}
{{- with .root.Values.image.registry }}{{ . }}/{{ end }}{{ $image }}
{{- if $own.digest }}@{{ $own.digest }}{{ else }}:{{ $own.tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "openledger.keysSecret" -}}
{{ .Values.secrets.existingSecret | default (printf "%s-keys" (include "openledger.fullname" .)) }}
{{- end }}

{{- define "openledger.tlsSecret" -}}
{{ index .root.Values.tls.existingSecrets .name | default (printf "%s-tls" (include "openledger.name" .)) }}
{{- end }}

{{- define "openledger.artifactsClaim" -}}
{{ .Values.artifacts.existingClaim | default (printf "%s-artifacts" (include "openledger.fullname" .)) }}
{{- end }}

{{- define "openledger.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "openledger.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* What every pod has: nobody but us, no token of the API server, no names of Services in the environment. */}}
{{- define "openledger.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "openledger.podSecurity" .root | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
