package task

import (
	"math"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// Fields are the members of a request by which a task is described, for the table of
// every protocol that takes tasks.
func Fields[T any](at func(*T) *Request) []protocol.Field[T] {
	names := func(of func(*Request) *[]string) func(*T, *protocol.Scanner) error {
		return func(into *T, s *protocol.Scanner) error { return protocol.ReadNames(s, of(at(into))) }
	}
	text := func(of func(*Request) *string) func(*T, *protocol.Scanner) error {
		return protocol.ReadString(func(into *T) *string { return of(at(into)) })
	}
	count := func(of func(*Request) *int64) func(*T, *protocol.Scanner) error {
		return protocol.ReadCount(1, func(into *T) *int64 { return of(at(into)) })
	}
	list := func(description string) *openapi.Schema {
		s := openapi.List(openapi.Text(""))
		s.MaxItems, s.Description = MaxNames, description
		return openapi.Nullable(s)
	}
	return []protocol.Field[T]{
		{Name: "description", Required: true, Schema: &openapi.Schema{Type: openapi.String, MaxLength: MaxDescription, Description: "What is to be done."}, Read: text(func(r *Request) *string { return &r.Description })},
		{Name: paramTools, Schema: list("The CLI's tools that may be used without asking, each maybe with a rule: `Bash(git log:*)`. Absent: all that the key's profile allows."), Read: names(func(r *Request) *[]string { return &r.Tools })},
		{Name: "allow_agents", Schema: list("The agents that may be started. Absent: all that the profile allows."), Read: names(func(r *Request) *[]string { return &r.Agents })},
		{Name: "allow_skills", Schema: list("The skills that may be used. Absent: all that the profile allows."), Read: names(func(r *Request) *[]string { return &r.Skills })},
		{
			Name: "timeout", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Number, Minimum: 0, Maximum: MaxTimeout.Seconds(), Default: DefaultTimeout.Seconds(), Description: "Seconds that the task may run; absent: 300, or what the profile allows."}),
			Read: func(into *T, s *protocol.Scanner) error {
				n, err := readPositive(s, MaxTimeout.Seconds())
				at(into).Timeout = time.Duration(counted(n, float64(time.Second)))
				return err
			},
		},
		{
			Name: "max_cost", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Number, Minimum: 0, Maximum: maxCost / 1e6, Default: float64(DefaultCost) / 1e6, Description: "The most that the task may cost, in US dollars; absent: 1.0, or what the profile allows."}),
			Read: func(into *T, s *protocol.Scanner) error {
				n, err := readPositive(s, maxCost/1e6)
				at(into).Cost = counted(n, 1e6)
				return err
			},
		},
		{Name: "working_directory", Schema: openapi.Nullable(openapi.Text("The absolute path of a folder to work in, which the profile must allow. Absent: an empty folder of the task's own.")), Read: text(func(r *Request) *string { return &r.Directory })},
		{Name: "model", Schema: openapi.Nullable(openapi.Text("haiku, sonnet, opus, auto or a full model id. Absent: auto.")), Read: text(func(r *Request) *string { return &r.Model })},
		{Name: "max_turns", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Integer, Minimum: 1, Maximum: MaxTurns, Description: "How often the model may be asked. Absent: no limit."}), Read: count(func(r *Request) *int64 { return &r.Turns })},
		{Name: "system", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.String, MaxLength: MaxSystem, Description: "Is added to the CLI's own system prompt."}), Read: text(func(r *Request) *string { return &r.System })},
		{Name: "approval", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.String, Enum: []string{ApprovalDeny, ApprovalAsk}, Default: ApprovalDeny, Description: "What becomes of a tool that allow_tools doesn't hold and the profile allows: it is denied, or a person is asked."}), Read: text(func(r *Request) *string { return &r.Approval })},
		{Name: "priority", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Integer, Minimum: job.PriorityFirst, Maximum: job.PriorityLast, Default: job.PriorityDefault, Description: "Of an asynchronous task among those of the same key in the queue: 1 is first."}), Read: count(func(r *Request) *int64 { return &r.Priority })},
	}
}

// misnamed are the names that other endpoints have for what narrows a task's rights.
var misnamed = map[string]string{"allowed_tools": paramTools, "allowed_agents": "allow_agents", "allowed_skills": "allow_skills"}

// Misnamed refuses a member that isn't in the table, where another endpoint calls a
// task's so: passed over like others, it would leave the task with more rights than it
// was meant to have.
func Misnamed(name string) error {
	if meant, wrong := misnamed[name]; wrong {
		return apierror.Invalid(name, "%s: is called %s here", name, meant)
	}
	return nil
}

// counted gives a number in a smaller unit. What is next to nothing is one of it: 0 says
// that nothing was said.
func counted(n, unit float64) int64 {
	if n <= 0 {
		return 0
	}
	return max(1, int64(math.Round(n*unit)))
}

// readPositive reads a number of more than 0; 0 for null.
func readPositive(s *protocol.Scanner, most float64) (float64, error) {
	n, err := s.Number(0, most)
	if err != nil || n == nil {
		return 0, err
	}
	if *n <= 0 {
		return 0, s.Invalid("", "must be more than 0")
	}
	return *n, nil
}
