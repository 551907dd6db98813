{{- define "openledger.podSpec" -}}
{{- $root := .root -}}{{- $spec := index $root.Values.services .name -}}
{{- $own := index (include "openledger.catalogue" $root | fromYaml) .name -}}
{{ include "openledger.pod" . }}
serviceAccountName: {{ include "openledger.serviceAccount" . }}
terminationGracePeriodSeconds: {{ $spec.terminationGracePeriodSeconds }}
{{- with $spec.priorityClassName | default (include "openledger.priority" .) }}
priorityClassName: {{ . }}
{{- end }}
{{- with $spec.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $spec.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $spec.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "openledger.selector" $ | nindent 8 }}
  {{- end }}
{{- if and (eq .name "ledger") $root.Values.secrets.generate }}
initContainers:
  {{- include "openledger.addresses" . | nindent 2 }}
{{- end }}
containers:
  - name: {{ .name }}
    image: {{ include "openledger.image" . | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    securityContext: {{- include "openledger.containerSecurity" $root | nindent 6 }}
    env: {{- include "openledger.env" . | nindent 6 }}
    ports:
      - { name: grpc, containerPort: {{ $own.port }} }
      - { name: metrics, containerPort: 9090 }
      - { name: health, containerPort: 9091 }
    startupProbe:
      grpc: { port: 9091 }
      periodSeconds: 5
      failureThreshold: {{ div (add $spec.startupSeconds 4) 5 }}
    readinessProbe:
      grpc: { port: 9091 }
      periodSeconds: 5
      timeoutSeconds: 3
    # Whether it answers at all: what it cannot do for a while is for readiness, and no reason to kill it.
    livenessProbe:
      tcpSocket: { port: health }
      periodSeconds: 20
      timeoutSeconds: 5
      failureThreshold: 6
    # Until nobody is sent here any more; then calls in hand have their time.
    lifecycle: { preStop: { exec: { command: [sleep, "5"] } } }
    resources: {{- toYaml $spec.resources | nindent 6 }}
    volumeMounts:
      - { name: data, mountPath: /var/lib/openledger/data }
      - { name: artifacts, mountPath: /var/lib/openledger/artifacts }
      - { name: cache, mountPath: /var/cache/openledger }
      - { name: tmp, mountPath: /tmp }
      - { name: keys, mountPath: /etc/openledger/keys, readOnly: true }
      {{- if $root.Values.tls.enabled }}
      - { name: tls, mountPath: /etc/openledger/tls, readOnly: true }
      {{- end }}
      {{- if $root.Values.baseModels }}
      - { name: models, mountPath: /etc/openledger/models, readOnly: true }
      {{- end }}
      {{- if eq .name "openlora" }}
      - { name: shm, mountPath: /dev/shm }
      {{- end }}
      {{- if eq .name "ledger" }}
      {{- if $root.Values.chain.contractsConfigMap }}
      - { name: contracts, mountPath: /etc/openledger/contracts, readOnly: true }
      {{- end }}
      {{- if $root.Values.secrets.generate }}
      - { name: addresses, mountPath: /etc/openledger/addresses, readOnly: true }
      {{- end }}
      {{- end }}
      {{- with $spec.extraVolumeMounts }}{{ toYaml . | nindent 6 }}{{ end }}
volumes:
  {{- include "openledger.volumes" . | nindent 2 }}
{{- end }}

{{- define "openledger.volumes" -}}
{{- $root := .root -}}{{- $spec := index $root.Values.services .name -}}
{{- $own := index (include "openledger.catalogue" $root | fromYaml) .name -}}
- { name: artifacts, persistentVolumeClaim: { claimName: {{ include "openledger.artifactsClaim" $root }} } }
- { name: cache, emptyDir: {} }
- { name: tmp, emptyDir: {} }
- name: keys
  secret:
    secretName: {{ include "openledger.keysSecret" $root }}
    # Root's, and our group's to read: nobody else is handed them.
    defaultMode: 0440
    optional: true
    items:
      {{- range $own.keys }}
      - { key: {{ . }}, path: {{ . }} }
      {{- end }}
{{- if $root.Values.tls.enabled }}
- { name: tls, secret: { secretName: {{ include "openledger.tlsSecret" . }}, defaultMode: 0440 } }
{{- end }}
{{- if $root.Values.baseModels }}
- { name: models, configMap: { name: {{ include "openledger.fullname" $root }}-models } }
{{- end }}
{{- if eq .name "openlora" }}
- { name: shm, emptyDir: { medium: Memory, sizeLimit: 1Gi } }
{{- end }}
{{- if eq .name "ledger" }}
{{- if $root.Values.chain.contractsConfigMap }}
- { name: contracts, configMap: { name: {{ $root.Values.chain.contractsConfigMap }} } }
{{- end }}
{{- if $root.Values.secrets.generate }}
- { name: addresses, emptyDir: { medium: Memory, sizeLimit: 1Mi } }
- name: all-keys
  secret: { secretName: {{ include "openledger.keysSecret" $root }}, defaultMode: 0440 }
{{- end }}
{{- end }}
{{- with $spec.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Whose the generated keys are, which no template can say: the ledger is told before it starts. */}}
{{- define "openledger.addresses" -}}
{{- $told := .root.Values.addresses -}}
- name: addresses
  image: {{ include "openledger.image" . | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  securityContext: {{- include "openledger.containerSecurity" .root | nindent 4 }}
  command: [sh, -euc]
  args:
    - |
      of() { python -m services.ledger.keys "/keys/$1.key"; }
      # Each by itself: within the text below one that fails would not be seen.
      platform="{{ $told.platform | default "$(of platform)" }}"
      treasury="$(of treasury)"
      operators={{ if $told.operators }}'{{ toJson $told.operators }}'{{ else }}"[\"$(of operator)\"]"{{ end }}
      signers={{ if $told.attributionSigners }}'{{ toJson $told.attributionSigners }}'{{ else }}"[\"$(of attribution)\"]"{{ end }}
      cat > /etc/openledger/addresses/ledger.toml <<TOML
      platform = "$platform"
      treasury = "$treasury"
      operators = $operators
      attribution_signers = $signers
      TOML
  resources:
    requests: { cpu: 50m, memory: 128Mi }
    limits: { cpu: "1", memory: 512Mi }
  volumeMounts:
    - { name: addresses, mountPath: /etc/openledger/addresses }
    - { name: all-keys, mountPath: /keys, readOnly: true }
    - { name: tmp, mountPath: /tmp }
{{- end }}

{{- define "openledger.priority" -}}
{{- if .root.Values.priorityClasses.create -}}
{{- $class := dict "ledger" "ledger" "openlora" "answers" | dig .name "" -}}
{{- include "openledger.fullname" .root }}-{{ $class | default "work" }}
{{- end -}}
{{- end }}
