{{/* The environment of a service: dict "root" $ "name" "ledger". */}}
{{- define "openledger.env" -}}
{{- $root := .root -}}{{- $name := .name -}}
{{- $spec := index $root.Values.services $name -}}
{{- $all := include "openledger.catalogue" $root | fromYaml -}}
{{- $own := index $all $name -}}
{{- $prefix := printf "OPENLEDGER_%s" (upper $name) -}}
- { name: HOME, value: /tmp }
- { name: OPENLEDGER_CACHE, value: /var/cache/openledger }
- { name: VLLM_CACHE_ROOT, value: /var/cache/openledger/vllm }
- { name: MPLCONFIGDIR, value: /var/cache/openledger/matplotlib }
- { name: OMP_WAIT_POLICY, value: PASSIVE }
# A limit of CPU hides no core: left to itself each would start a thread for every core of the node.
- { name: OMP_NUM_THREADS, valueFrom: { resourceFieldRef: { resource: limits.cpu } } }
{{- if $root.Values.baseModels }}
- { name: OPENLEDGER_BASE_MODELS, value: /etc/openledger/models/models.toml }
{{- end }}
- { name: {{ $prefix }}_LISTEN, value: "0.0.0.0:{{ $own.port }}" }
- { name: {{ $prefix }}_METRICS_LISTEN, value: "0.0.0.0:9090" }
- { name: {{ $prefix }}_HEALTH_LISTEN, value: "0.0.0.0:9091" }
- { name: {{ $prefix }}_DATA_DIR, value: /var/lib/openledger/data }
- { name: {{ $prefix }}_ARTIFACTS_DIR, value: /var/lib/openledger/artifacts }
- { name: {{ $prefix }}_LOG_LEVEL, value: {{ $root.Values.logLevel }} }
- name: {{ $prefix }}_SERVICE_SECRET
  valueFrom: { secretKeyRef: { name: {{ include "openledger.keysSecret" $root }}, key: service-secret } }
{{- if $own.postgresql }}
{{ include "openledger.databaseEnv" . }}
{{- end }}
{{- range $peer := $own.calls }}
{{- $many := and (eq $name "attribution") (eq $peer "openlora") }}
- name: {{ $prefix }}_{{ upper $peer }}
  value: {{ if $many }}dns:{{ end }}{{ include "openledger.name" (dict "root" $root "name" $peer) }}{{ if $many }}-headless{{ end }}:{{ (index $all $peer).port }}
{{- end }}
{{- if $root.Values.tls.enabled }}
- { name: {{ $prefix }}_TLS_AUTHORITY_FILE, value: /etc/openledger/tls/ca.crt }
- { name: {{ $prefix }}_TLS_CERTIFICATE_FILE, value: /etc/openledger/tls/tls.crt }
- { name: {{ $prefix }}_TLS_KEY_FILE, value: /etc/openledger/tls/tls.key }
- { name: {{ $prefix }}_TLS_CALLERS, value: {{ $root.Values.tls.callers | quote }} }
{{- end }}
{{- include (printf "openledger.env.%s" $name) $root }}
{{- range $key, $value := $spec.config }}
- { name: {{ $prefix }}_{{ upper $key }}, value: {{ $value | quote }} }
{{- end }}
{{- with $spec.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "openledger.databaseEnv" -}}
{{- $setting := printf "OPENLEDGER_%s_DATABASE_URL" (upper .name) -}}
{{- if .root.Values.postgresql.internal.enabled -}}
- name: POSTGRESQL_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ include "openledger.fullname" .root }}-postgresql, key: password } }
- name: {{ $setting }}
  value: postgresql://openledger:$(POSTGRESQL_PASSWORD)@{{ include "openledger.fullname" .root }}-postgresql:5432/{{ .name }}
{{- else -}}
- name: {{ $setting }}
  valueFrom: { secretKeyRef: { name: {{ .root.Values.postgresql.existingSecret }}, key: {{ .name }}-url } }
{{- end -}}
{{- end }}

{{- define "openledger.env.ledger" }}
- { name: OPENLEDGER_LEDGER_CHAIN_ID, value: {{ .Values.chain.id | int | quote }} }
- { name: OPENLEDGER_LEDGER_CONFIRMATIONS, value: {{ .Values.chain.confirmations | int | quote }} }
{{- if not (kindIs "invalid" .Values.chain.quiet) }}
- { name: OPENLEDGER_LEDGER_QUIET_CHAIN, value: {{ .Values.chain.quiet | quote }} }
{{- end }}
- name: OPENLEDGER_LEDGER_RPC_URL
{{- if .Values.chain.dev.enabled }}
  value: http://{{ include "openledger.fullname" . }}-chain:8545
{{- else if .Values.chain.rpcUrl }}
  value: {{ .Values.chain.rpcUrl | quote }}
{{- else }}
  valueFrom: { secretKeyRef: { name: {{ .Values.chain.rpcUrlSecret }}, key: rpc-url } }
{{- end }}
{{- with .Values.artifacts.url }}
- { name: OPENLEDGER_LEDGER_ARTIFACTS_URL, value: {{ . | quote }} }
{{- end }}
{{- if .Values.chain.contractsConfigMap }}
- { name: OPENLEDGER_LEDGER_CONTRACTS_FILE, value: /etc/openledger/contracts/contracts.json }
{{- end }}
{{- /* A signing service has the key instead; its URL may come from a Secret, by extraEnv. */}}
{{- $ledger := .Values.services.ledger }}
{{- $signer := $ledger.config.signer_url }}
{{- range $ledger.extraEnv }}{{ if eq .name "OPENLEDGER_LEDGER_SIGNER_URL" }}{{ $signer = .name }}{{ end }}{{ end }}
{{- if not $signer }}
- { name: OPENLEDGER_LEDGER_OPERATOR_KEY_FILE, value: /etc/openledger/keys/operator.key }
{{- end }}
- { name: OPENLEDGER_LEDGER_SESSION_KEY_FILE, value: /etc/openledger/keys/sessions.pem }
{{- if .Values.secrets.generate }}
- { name: OPENLEDGER_LEDGER_CONFIG, value: /etc/openledger/addresses/ledger.toml }
{{- else }}
- { name: OPENLEDGER_LEDGER_PLATFORM, value: {{ .Values.addresses.platform | quote }} }
- { name: OPENLEDGER_LEDGER_OPERATORS, value: {{ .Values.addresses.operators | toJson | quote }} }
- { name: OPENLEDGER_LEDGER_ATTRIBUTION_SIGNERS, value: {{ .Values.addresses.attributionSigners | toJson | quote }} }
- { name: OPENLEDGER_LEDGER_TREASURY, value: {{ .Values.addresses.treasury | quote }} }
{{- end }}
{{- end }}

{{- define "openledger.env.datanet" }}
- { name: OPENLEDGER_DATANET_VAULT_KEY_FILE, value: /etc/openledger/keys/vault.key }
{{- end }}

{{- define "openledger.env.factory" }}
- { name: OPENLEDGER_FACTORY_SIGNING_KEY_FILE, value: /etc/openledger/keys/factory.key }
{{- if not .Values.services.factory.config.threads }}
- { name: OPENLEDGER_FACTORY_THREADS, valueFrom: { resourceFieldRef: { resource: limits.cpu } } }
{{- end }}
{{- end }}

{{- define "openledger.env.openlora" }}
- { name: OPENLEDGER_OPENLORA_TRACE_KEY_FILE, value: /etc/openledger/keys/traces.key }
- name: OPENLEDGER_OPENLORA_REPLICA
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
{{- with .Values.addresses.operators }}
- { name: OPENLEDGER_OPENLORA_OPERATORS, value: {{ toJson . | quote }} }
{{- end }}
{{- end }}

{{- define "openledger.env.attribution" }}
- { name: OPENLEDGER_ATTRIBUTION_SIGNING_KEY_FILE, value: /etc/openledger/keys/attribution.key }
- { name: OPENLEDGER_ATTRIBUTION_TRACE_KEY_FILE, value: /etc/openledger/keys/attribution-traces.key }
{{- with .Values.addresses.operators }}
- { name: OPENLEDGER_ATTRIBUTION_OPERATORS, value: {{ toJson . | quote }} }
{{- end }}
{{- if .Values.tls.enabled }}
- { name: OPENLEDGER_ATTRIBUTION_OPENLORA_TLS_NAME, value: {{ include "openledger.name" (dict "root" . "name" "openlora") }} }
{{- end }}
{{- end }}
