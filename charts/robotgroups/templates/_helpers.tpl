{{/* Labels that select the pods of one component. Call with a dict: root, component. */}}
{{- define "robotgroups.selectorLabels" -}}
app.kubernetes.io/name: robotgroups-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{/* Labels of every object of one component. Call with a dict: root, component. */}}
{{- define "robotgroups.labels" -}}
{{ include "robotgroups.selectorLabels" . }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: robotgroups
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels of the pods of one component: without versions, which would restart them at every upgrade. Call with a dict: root, component. */}}
{{- define "robotgroups.podLabels" -}}
{{ include "robotgroups.selectorLabels" . }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: robotgroups
{{- end -}}

{{/* REPOSITORY:TAG. Call with a dict: root, image. */}}
{{- define "robotgroups.image" -}}
{{ printf "%s:%s" .image.repository (.image.tag | default .root.Chart.AppVersion) }}
{{- end -}}

{{- define "robotgroups.operatorName" -}}
{{ .Release.Name }}-operator
{{- end -}}

{{- define "robotgroups.postgresName" -}}
{{ .Release.Name }}-postgres
{{- end -}}

{{/* The Secret that holds the operator's DSN, and its key. */}}
{{- define "robotgroups.databaseSecret" -}}
{{ .Values.database.existingSecret | default (include "robotgroups.postgresName" .) }}
{{- end -}}

{{- define "robotgroups.databaseSecretKey" -}}
{{ if .Values.database.existingSecret }}{{ .Values.database.existingSecretKey }}{{ else }}dsn{{ end }}
{{- end -}}

{{/* Refuses a release without a database, or with two. */}}
{{- define "robotgroups.checkDatabase" -}}
{{- if and .Values.postgres.enabled .Values.database.existingSecret -}}
{{- fail "postgres.enabled and database.existingSecret exclude each other: set postgres.enabled=false to use the external server, or clear database.existingSecret to use the embedded Postgres" -}}
{{- end -}}
{{- if not (or .Values.postgres.enabled .Values.database.existingSecret) -}}
{{- fail "there is no database: set postgres.enabled=true for the embedded Postgres, or name in database.existingSecret the Secret with the DSN of an external server" -}}
{{- end -}}
{{- end -}}

{{/*
Where the embedded Postgres keeps its data: pvc, hostPath or emptyDir. An existing release keeps what it has: with another volume it
would start empty, and the memories would seem lost.
*/}}
{{- define "robotgroups.persistence" -}}
{{- $type := .Values.postgres.persistence.type -}}
{{- $existing := lookup "apps/v1" "StatefulSet" .Release.Namespace (include "robotgroups.postgresName" .) -}}
{{- $current := dig "metadata" "annotations" "robotgroups.dev/persistence" "" $existing -}}
{{- if and $current (eq $type "auto") -}}
{{- $current -}}
{{- else if and $current (ne $type $current) -}}
{{- fail (printf "postgres.persistence.type cannot change from %s to %s: Postgres would start empty. Keep %s; or dump the database, `helm uninstall`, install anew with %s and restore it" $current $type $current $type) -}}
{{- else if ne $type "auto" -}}
{{- $type -}}
{{- else if .Values.postgres.persistence.storageClass -}}
pvc
{{- else -}}
{{- $found := "emptyDir" -}}
{{- range (lookup "storage.k8s.io/v1" "StorageClass" "" "").items -}}
{{- if eq "true" (dig "metadata" "annotations" "storageclass.kubernetes.io/is-default-class" "" .) -}}
{{- $found = "pvc" -}}
{{- end -}}
{{- end -}}
{{- $found -}}
{{- end -}}
{{- end -}}

{{/* The pod security standard "restricted", container part. */}}
{{- define "robotgroups.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The pod security standard "restricted", pod part. Call with a user id. */}}
{{- define "robotgroups.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The files of the embedded Postgres: scripts and settings. The last line of a setting wins in postgresql.conf. */}}
{{- define "robotgroups.postgresFiles" -}}
{{- range $i, $name := list "start.sh" "ready.sh" "setup.sql" "pg_hba.conf" }}
{{- if $i }}{{ "\n" }}{{ end }}
{{- $name }}: |
  {{- $.Files.Get (printf "files/postgres/%s" $name) | trimSuffix "\n" | nindent 2 }}
{{- end }}
postgresql.conf: |
  {{- .Files.Get "files/postgres/postgresql.conf" | trimSuffix "\n" | nindent 2 }}
  {{- range $key, $value := .Values.postgres.settings }}
  {{ $key }} = '{{ $value | toString | replace "'" "''" }}'
  {{- end }}
{{- end -}}
