package task

import (
	"strconv"

	"claude-code-api-service/internal/job"
)

// AppendFrame appends an event as streams of server-sent events carry it. One that isn't
// kept has no id.
func AppendFrame(dst []byte, e job.Event) []byte {
	if e.Seq > 0 {
		dst = append(strconv.AppendInt(append(dst, "id: "...), e.Seq, 10), '\n')
	}
	dst = append(append(append(dst, "event: "...), e.Type...), "\ndata: "...)
	return append(append(dst, e.Data...), "\n\n"...)
}
