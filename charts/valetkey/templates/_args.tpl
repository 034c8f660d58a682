{{- /* The operator's flags: those of args, and those that are values of their own. */ -}}
{{- define "valetkey.args" -}}
{{- $args := .Values.args }}
{{- range .Values.watchNamespaces }}
{{- $args = append $args (printf "--watch-namespace=%s" .) }}
{{- end }}
{{- with .Values.httpsProxy }}
{{- /* Not in the schema, whose errors repeat the value. */ -}}
{{- if not (regexMatch "^https?://[^@/?#\\s]+/?$" .) }}
{{- fail "httpsProxy: want the URL of a proxy, without a user and a password, such as http://proxy.example.com:3128" }}
{{- end }}
{{- $args = append $args (printf "--https-proxy=%s" .) }}
{{- end }}
{{- range .Values.noProxy }}
{{- $args = append $args (printf "--no-proxy=%s" .) }}
{{- end }}
{{- with .Values.caFile }}
{{- $args = append $args (printf "--ca-file=%s" .) }}
{{- end }}
{{- toJson $args }}
{{- end }}
