package server

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/webhook/fpga"
	"github.com/inlay-project/inlay/webhook/jsonread"
)

// Codes of an answer's status.
const (
	codeMalformed = 400
	codeForbidden = 403
	codeMistake   = 500
	codeNotReady  = 503
)

// maxMessage bounds a denial's message, in bytes: people read it in one piece.
const maxMessage = 4 << 10

// The audit annotation that names the mappings used. The API server puts the webhook's name before the key.
const (
	auditKey = "mappings"
	maxAudit = 4 << 10 // bytes
)

// reasonOf is what Kubernetes calls a code.
func reasonOf(code int) string {
	switch code {
	case codeMalformed:
		return "BadRequest"
	case codeForbidden:
		return "Forbidden"
	case codeNotReady:
		return "ServiceUnavailable"
	default:
		return "InternalError"
	}
}

// Refusal is the AdmissionReview that denies what could not be read.
func Refusal(message string) []byte {
	dst, _ := refuse(nil, Malformed, codeMalformed, &question{}, message)
	return dst
}

// allow appends an answer that allows. These answers are written by hand: reflection would cost more than all that the
// translation does.
func allow(dst []byte, q *question, patch []byte, warnings []string, uses []fpga.Use) []byte {
	dst = appendHead(dst, q.uid)
	dst = append(dst, `,"allowed":true`...)
	if len(patch) > 0 {
		dst = append(dst, `,"patchType":"JSONPatch","patch":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, patch)
		dst = append(dst, '"')
	}
	dst = appendWarnings(dst, warnings)
	if len(uses) > 0 {
		dst = append(dst, `,"auditAnnotations":{"`+auditKey+`":`...)
		dst = jsonread.AppendString(dst, audit(uses))
		dst = append(dst, '}')
	}
	return append(dst, "}}\n"...)
}

// refuse appends an answer that denies, and says what was answered. The outcome's strings are copies.
func refuse(dst []byte, d Decision, code int, q *question, message string) ([]byte, Outcome) {
	message = shortened(message, maxMessage)
	outcome := Outcome{
		Decision: d, Code: code, UID: strings.Clone(q.uid), Namespace: shortened(q.namespace, maxName),
		Pod: shortened(q.pod.Name(), maxName), Message: message,
	}
	dst = appendHead(dst, q.uid)
	dst = append(dst, `,"allowed":false,"status":{"metadata":{},"status":"Failure","message":`...)
	dst = jsonread.AppendString(dst, message)
	dst = append(dst, `,"reason":"`...)
	dst = append(dst, reasonOf(code)...)
	dst = append(dst, `","code":`...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	dst = append(dst, '}')
	dst = appendWarnings(dst, q.warnings)
	return append(dst, "}}\n"...), outcome
}

// shortened is a copy of at most so many bytes and a mark.
func shortened(s string, most int) string {
	if len(s) <= most {
		return strings.Clone(s)
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func appendHead(dst []byte, uid string) []byte {
	dst = append(dst, `{"kind":"`+reviewKind+`","apiVersion":"`+reviewVersion+`","response":{"uid":`...)
	return jsonread.AppendString(dst, uid)
}

func appendWarnings(dst []byte, warnings []string) []byte {
	for i, w := range warnings {
		if i == 0 {
			dst = append(dst, `,"warnings":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = jsonread.AppendString(dst, w)
	}
	if len(warnings) > 0 {
		dst = append(dst, ']')
	}
	return dst
}

// audit names the mappings used, at most maxAudit bytes of them. One use has less.
func audit(uses []fpga.Use) string {
	const between, more = "; ", "…"
	lines := make([]string, 0, 8)
	size := len(more)
	for _, use := range uses {
		line := use.String()
		if size += len(line) + len(between); size > maxAudit {
			lines = append(lines, more)
			break
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, between)
}
