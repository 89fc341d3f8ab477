package sessionapi

import (
	"bytes"
	"time"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/session"
)

// request is what a session is to be.
type request struct {
	wish     session.Wish
	warnings []string
}

// requestObject is the table of its members. It is never changed.
var requestObject = protocol.NewObject(
	openapi.Schema{Name: "SessionRequest", Description: "Null is as good as absent in every member."},
	func(q *request, s *protocol.Scanner, name string) error {
		value, err := s.Value()
		if err == nil && !protocol.AsksNothing(value) {
			q.warnings = append(q.warnings, name+": has no effect here")
		}
		return err
	},
	protocol.Field[request]{
		Name: "model", Schema: openapi.Text("An alias, a full id, or a name that the operator configured. Absent or `auto`: " + session.DefaultModel + "."),
		Read: protocol.ReadString(func(q *request) *string { return &q.wish.Model }),
	},
	protocol.Field[request]{
		Name: "system", Schema: openapi.Text("Added to the CLI's own system prompt."),
		Read: protocol.ReadString(func(q *request) *string { return &q.wish.System }),
	},
	names("allowed_tools", "The CLI's tools that may be used, each maybe with a rule behind it: `Bash(git log:*)`.", func(q *request) *[]string { return &q.wish.Tools }),
	names("allowed_agents", "Agents that may be started.", func(q *request) *[]string { return &q.wish.Agents }),
	names("allowed_skills", "Skills that may be used.", func(q *request) *[]string { return &q.wish.Skills }),
	protocol.Field[request]{
		Name: "working_directory", Schema: openapi.Text("The folder in which it works. Absent: a workspace of its own, which is empty at first."),
		Read: protocol.ReadString(func(q *request) *string { return &q.wish.Directory }),
	},
	protocol.Field[request]{
		Name: "ttl", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Integer, Minimum: 1, Description: "For how many seconds after its last message it is kept. Absent: as long as the service keeps any."}),
		Read: func(q *request, s *protocol.Scanner) error {
			var seconds int64
			err := protocol.ReadCount(1, func(*request) *int64 { return &seconds })(q, s)
			q.wish.TTL = time.Duration(min(seconds, mostSeconds)) * time.Second
			return err
		},
	},
)

// mostSeconds is far beyond what any service keeps, and far from what a Duration holds.
const mostSeconds = 1 << 32

// names makes a field of names; absent, all that the profile allows.
func names(name, description string, at func(q *request) *[]string) protocol.Field[request] {
	return protocol.Field[request]{
		Name: name, Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Array, Items: openapi.Text(""), Description: description + " Absent: all that the key's profile allows; an empty list: none."}),
		Read: func(q *request, s *protocol.Scanner) error { return protocol.ReadNames(s, at(q)) },
	}
}

func (h *Handler) decode(body []byte) (*request, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}") // nothing has to be said
	}
	scanner := h.scanners.Get(body)
	defer h.scanners.Put(scanner)
	q := &request{}
	return q, requestObject.Document(scanner, q)
}
