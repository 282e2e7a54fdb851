{{- define "dify-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "dify-exporter.fullname" -}}
{{- $name := include "dify-exporter.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* Labels of an object. The argument is a list: the root, the component. */}}
{{- define "dify-exporter.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Values.image.tag | default $root.Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
{{ include "dify-exporter.selector" . }}
{{- end }}

{{- define "dify-exporter.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "dify-exporter.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "dify-exporter.image" -}}
{{- $sentence := "image.repository is empty. Build the image with `docker build --file deploy/Dockerfile --tag REGISTRY/dify-exporter:0.1.0 .`, push it, and add `--set image.repository=REGISTRY/dify-exporter`." -}}
{{ required $sentence .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* An exporter.toml. The argument is a list: the root, the TOML of the sources. */}}
{{- define "dify-exporter.config" -}}
{{- $root := index . 0 -}}
[exporter]
listen = "0.0.0.0:9877"
state = "/var/lib/dify-exporter/state"

{{ index . 1 | trim }}
{{- with $root.Values.extraConfig }}

{{ . | trim }}
{{- end }}
{{- end }}

{{- define "dify-exporter.receiver-config" -}}
{{- $config := `
[[source]]
name = "receiver"
paths = ["/logs/receive.log"]
parser = "dify"

[receive]
listen = "0.0.0.0:4318"
log = "/logs/receive.log"
log_max_bytes = 104857600
log_backups = 5
` }}
{{- if .Values.receiver.tokenSecret }}
{{- $config = print $config "token_file = \"/etc/dify-exporter-token/token\"\n" }}
{{- end }}
{{- if .Values.receiver.native }}
{{- $config = print $config "native = true\n" }}
{{- end }}
{{- include "dify-exporter.config" (list . $config) }}
{{- end }}

{{- define "dify-exporter.proxy-config" -}}
{{- $config := printf `
[[source]]
name = "proxy"
paths = ["/logs/proxy.log"]
parser = "dify"

[proxy]
listen = "0.0.0.0:8877"
upstream = %q
log = "/logs/proxy.log"
log_max_bytes = 104857600
log_backups = 5
%s` .Values.proxy.upstream .Values.proxy.config }}
{{- include "dify-exporter.config" (list . $config) }}
{{- end }}

{{- define "dify-exporter.sidecar-config" -}}
{{- $config := printf `
[[source]]
name = %q
paths = ["/app/logs/server.log"]
parser = "dify"
` .Values.sidecar.container }}
{{- include "dify-exporter.config" (list . $config) }}
{{- end }}

{{- define "dify-exporter.node-config" -}}
{{- include "dify-exporter.config" (list . (.Values.nodeLogs.config | replace "NAMESPACE" .Values.dify.namespace)) }}
{{- end }}

{{- /* What every container of ours may do: nothing beside reading, and writing into its volumes. */}}
{{- define "dify-exporter.confined" -}}
runAsUser: 65532
runAsGroup: 65532
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* Where a pod may run. The argument is the values of the component. */}}
{{- define "dify-exporter.placement" -}}
{{- range $key := list "nodeSelector" "tolerations" "affinity" }}
{{- with get $ $key }}
{{ $key }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "dify-exporter.probes" -}}
livenessProbe:
  httpGet: {path: /-/healthy, port: metrics}
  periodSeconds: 20
# During the first pass /metrics and this path answer 503.
readinessProbe:
  httpGet: {path: /-/ready, port: metrics}
  periodSeconds: 5
{{- end }}

{{- /* The exporter beside the program whose log it reads. */}}
{{- define "dify-exporter.log-reader" -}}
- name: dify-exporter
  image: {{ include "dify-exporter.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [serve, --config, /etc/dify-exporter/exporter.toml]
  ports: [{name: metrics, containerPort: 9877}]
  securityContext:
    {{- include "dify-exporter.confined" . | nindent 4 }}
  livenessProbe:
    httpGet: {path: /-/healthy, port: metrics}
    periodSeconds: 20
  resources: {{ toJson .Values.logReader.resources }}
  volumeMounts:
    - {name: config, mountPath: /etc/dify-exporter, readOnly: true}
    - {name: logs, mountPath: /logs, readOnly: true}
    - {name: state, mountPath: /var/lib/dify-exporter}
{{- end }}

{{- /* "true" where probes of Dify report to Prometheus. */}}
{{- define "dify-exporter.probed" -}}
{{- if and .Values.operator.enabled .Values.probes.enabled }}true{{ end }}
{{- end }}
