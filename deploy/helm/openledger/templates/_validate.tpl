{{/* What a schema cannot say. Each refusal names the value, and what to do. */}}
{{- define "openledger.validate" -}}
{{- $v := .Values -}}
{{- if and (not $v.secrets.generate) (not $v.secrets.existingSecret) -}}
{{- fail "secrets.existingSecret is missing: name the Secret with the keys, or set secrets.generate for a trial" -}}
{{- end -}}
{{- if and $v.secrets.existingSecret $v.secrets.generate -}}
{{- fail "secrets.existingSecret and secrets.generate are two: with a Secret of your own set secrets.generate=false" -}}
{{- end -}}
{{- if and $v.secrets.existingSecret (not (and $v.addresses.platform $v.addresses.attributionSigners)) -}}
{{- fail "addresses.platform and addresses.attributionSigners are missing: with a Secret of your own say whose keys count" -}}
{{- end -}}
{{- if and $v.secrets.generate $v.addresses.treasury -}}
{{- fail "addresses.treasury and secrets.generate are two: the treasury's key is made too, and `helm test` pays with it" -}}
{{- end -}}
{{- if and (not $v.postgresql.internal.enabled) (not $v.postgresql.existingSecret) -}}
{{- fail "postgresql.existingSecret is missing: name the Secret with the databases' URLs, or set postgresql.internal.enabled" -}}
{{- end -}}
{{- if and $v.postgresql.internal.enabled $v.postgresql.existingSecret -}}
{{- fail "postgresql.existingSecret and postgresql.internal.enabled are two: set postgresql.internal.enabled=false" -}}
{{- end -}}
{{- $elsewhere := or $v.chain.rpcUrl $v.chain.rpcUrlSecret -}}
{{- if and $v.chain.rpcUrl $v.chain.rpcUrlSecret -}}
{{- fail "chain.rpcUrl and chain.rpcUrlSecret are two: which one is it?" -}}
{{- end -}}
{{- if and $v.chain.dev.enabled $elsewhere -}}
{{- fail "chain.rpcUrl and chain.dev.enabled are two: set chain.dev.enabled=false for a chain elsewhere" -}}
{{- end -}}
{{- if not (or $v.chain.dev.enabled $elsewhere) -}}
{{- fail "chain.rpcUrl is missing: the JSON-RPC of the chain (or chain.rpcUrlSecret), or set chain.dev.enabled" -}}
{{- end -}}
{{- $real := not (has (int $v.chain.id) (list 1337 31337)) -}}
{{- if and $real $v.chain.dev.enabled -}}
{{- fail (printf "chain.id is %d, and the development chain's is 31337: set chain.dev.enabled=false" (int $v.chain.id)) -}}
{{- end -}}
{{- if and $real (not (and $v.chain.confirmations $v.chain.contractsConfigMap)) -}}
{{- fail (printf "chain.confirmations and chain.contractsConfigMap are missing: chain %d is not for development" (int $v.chain.id)) -}}
{{- end -}}
{{- if and $v.chain.dev.enabled (gt (int $v.services.ledger.replicas) 1) -}}
{{- fail "services.ledger.replicas: on the development chain there is one ledger, which makes the contracts" -}}
{{- end -}}
{{- if $v.tls.enabled -}}
{{- range $name := append (keys (include "openledger.catalogue" . | fromYaml) | sortAlpha) "test" -}}
{{- if not (or $v.tls.certManager.enabled (index $v.tls.existingSecrets $name)) -}}
{{- fail (printf "tls.existingSecrets.%s is missing: name the Secret with its certificate, or set tls.certManager.enabled" $name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name is missing: which issuer?" -}}
{{- end -}}
{{- end -}}
{{- if and (or $v.expose.ingress.enabled $v.expose.gateway.enabled) (not $v.expose.domain) -}}
{{- fail "expose.domain is missing: services are exposed at <service>.<domain>" -}}
{{- end -}}
{{- if and (or $v.expose.ingress.enabled $v.expose.gateway.enabled) $v.networkPolicy.enabled (not $v.networkPolicy.clients) -}}
{{- fail "networkPolicy.clients is missing: who brings callers from outside, such as the gateway's namespace; nobody else is let in" -}}
{{- end -}}
{{- $ours := list "listen" "metrics_listen" "health_listen" "data_dir" "artifacts_dir" "artifacts_url" "database_url" "service_secret" "service_secret_also" "ledger" "datanet" "factory" "openlora" "attribution" "shares_dir" "snapshots_dir" "log_level" "replica" "rpc_url" "chain_id" "confirmations" "quiet_chain" "contracts_file" "platform" "operators" "attribution_signers" "treasury" "tls_callers" "openlora_tls_name" -}}
{{- range $name, $spec := $v.services -}}
{{- range $key, $_ := $spec.config -}}
{{- if or (has $key $ours) (hasSuffix "_file" $key) -}}
{{- fail (printf "services.%s.config.%s is set by the chart: another value says it" $name $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
