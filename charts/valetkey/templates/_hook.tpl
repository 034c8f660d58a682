{{- /* The Pod of a hook: the operator's program and ServiceAccount, one subcommand, and no right that the operator has not. */ -}}
{{- define "valetkey.hookPod" -}}
serviceAccountName: valetkey
restartPolicy: Never
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
containers:
- name: {{ .subcommand }}
  image: {{ .root.Values.image | quote }}
  imagePullPolicy: {{ .root.Values.imagePullPolicy }}
  {{- $args := list .subcommand }}
  {{- range fromJsonArray (include "valetkey.args" .root) }}
  {{- if regexMatch "^--(namespace|identities-namespace|watch-namespace)=" . }}
  {{- $args = append $args . }}
  {{- end }}
  {{- end }}
  args: {{ toJson $args }}
  resources:
    requests: {cpu: 100m, memory: 64Mi}
    limits: {cpu: 100m, memory: 64Mi}
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
{{- end }}
