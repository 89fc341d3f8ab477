package task

import (
	"net/http"
	"strconv"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/job"
)

// HeaderLastEvent says what a reader has of a stream of events already.
const HeaderLastEvent = "Last-Event-ID"

// AppendFrame appends an event as streams of server-sent events carry it. One that isn't
// kept has no id.
func AppendFrame(dst []byte, e job.Event) []byte {
	if e.Seq > 0 {
		dst = append(strconv.AppendInt(append(dst, "id: "...), e.Seq, 10), '\n')
	}
	dst = append(append(append(dst, "event: "...), e.Type...), "\ndata: "...)
	return append(append(dst, e.Data...), "\n\n"...)
}

// After is the number of the last event that a reader has, 0 for none: in the header, or
// in the query for those who can't set one. An error is an apierror.Error.
func After(r *http.Request) (int64, error) {
	name, text := HeaderLastEvent, r.Header.Get(HeaderLastEvent)
	if text == "" {
		name, text = "after", r.URL.Query().Get("after")
	}
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, apierror.Invalid(name, "%s: must be the number of an event", name)
	}
	return n, nil
}
