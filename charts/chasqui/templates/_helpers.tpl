{{- define "chasqui.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "chasqui.selector" -}}
app.kubernetes.io/name: chasqui-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "chasqui.labels" -}}
{{ include "chasqui.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "chasqui.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{ .Values.image.repository }}:{{ $tag }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* What a namespace with the restricted Pod Security profile asks for. */}}
{{- define "chasqui.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "chasqui.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* Namespaces in which SmtpRelays, MailDomains and SmtpUsers count, one by one; nothing: all. */}}
{{- define "chasqui.namespaces" -}}
{{- if .Values.scope.namespaces }}{{ concat .Values.scope.namespaces .Values.scope.relayNamespaces | uniq | join "," }}{{ end }}
{{- end }}

{{/* Namespaces in which relays run; nothing: all. */}}
{{- define "chasqui.relayNamespaces" -}}
{{- .Values.scope.relayNamespaces | default .Values.scope.namespaces | join "," }}
{{- end }}

{{/*
A role, and its binding to the operator or another ServiceAccount: for the cluster, or for each of the namespaces alone.
Takes root, name, account, namespaces (joined by commas) and rules.
*/}}
{{- define "chasqui.grant" -}}
{{- $root := .root }}
{{- $account := .account }}
{{- $name := .name }}
{{- $annotations := .annotations }}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ $name }}
  labels: {{- include "chasqui.labels" $root | nindent 4 }}
  {{- with $annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
rules:
{{ .rules | trim | indent 2 }}
{{- if not .namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $name }}
  labels: {{- include "chasqui.labels" $root | nindent 4 }}
  {{- with $annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ $name }} }
subjects:
  - { kind: ServiceAccount, name: {{ $account }}, namespace: {{ $root.Release.Namespace }} }
{{- else }}
{{- range splitList "," .namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ . }}
  labels: {{- include "chasqui.labels" $root | nindent 4 }}
  {{- with $annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ $name }} }
subjects:
  - { kind: ServiceAccount, name: {{ $account }}, namespace: {{ $root.Release.Namespace }} }
{{- end }}
{{- end }}
{{- end }}
