{{/* Egress rules that several policies share. */}}

{{- define "driftsonde.egressDns" -}}
- to:
    {{- toYaml .Values.networkPolicy.dns.to | nindent 4 }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}

{{- define "driftsonde.egressDatabase" -}}
{{- with .Values.networkPolicy.database -}}
- to:
    {{- toYaml .to | nindent 4 }}
  ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
{{- end -}}
{{- end -}}

{{- define "driftsonde.egressHttps" -}}
{{- with .Values.networkPolicy.https -}}
- to:
    {{- toYaml .to | nindent 4 }}
  ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
{{- end -}}
{{- end -}}

{{/* SNS and SQS are reached by HTTPS. */}}
{{- define "driftsonde.egressBus" -}}
{{- if eq .Values.bus.type "nats" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "driftsonde.natsLabels" . | nindent 10 }}
  ports:
    - {protocol: TCP, port: 4222}
{{- else if eq .Values.bus.type "external" -}}
{{- with .Values.networkPolicy.bus -}}
- to:
    {{- toYaml .to | nindent 4 }}
  ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
{{- end -}}
{{- end -}}
{{- end -}}
