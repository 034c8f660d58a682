{{- /* The operator's flags: those of args, and one for each watched namespace. */ -}}
{{- define "valetkey.args" -}}
{{- $args := .Values.args }}
{{- range .Values.watchNamespaces }}
{{- $args = append $args (printf "--watch-namespace=%s" .) }}
{{- end }}
{{- toJson $args }}
{{- end }}
