package httpapi

import "strings"

// trace reads the ids of a traceparent field (W3C Trace Context, section 3.2): the trace's and its parent's. Both are
// empty where there is none, or one that is not to be believed: the field is the caller's, and goes into records.
func trace(fields []string) (traceID, spanID string) {
	if len(fields) != 1 {
		return "", ""
	}
	const whole = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	field := fields[0]
	if len(field) < whole || field[2] != '-' || field[35] != '-' || field[52] != '-' {
		return "", ""
	}
	version, flags := field[:2], field[53:55]
	if version == "ff" || len(field) > whole && (version == "00" || field[whole] != '-') {
		return "", ""
	}
	traceID, spanID = field[3:35], field[36:52]
	for _, part := range [...]string{version, traceID, spanID, flags} {
		if strings.Trim(part, "0123456789abcdef") != "" {
			return "", ""
		}
	}
	if strings.Trim(traceID, "0") == "" || strings.Trim(spanID, "0") == "" {
		return "", ""
	}
	return traceID, spanID
}
