package protocol

import (
	"fmt"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/openapi"
)

// Work is what a request asks of a worker with tools of its own: allowed_tools and
// working_directory, or the session_id of a session, which has its own.
type Work struct {
	tools     []string
	directory string
	session   string
}

// ReadTools reads allowed_tools: an array of texts, or null.
func (w *Work) ReadTools(s *Scanner) error {
	if err := ReadNames(s, &w.tools); err != nil {
		return err
	}
	if !gateway.NamesFit(w.tools) {
		return s.Invalid("", fmt.Sprintf("must be at most %d texts of at most %d bytes", gateway.MaxNames, gateway.MaxName))
	}
	return nil
}

// ReadNames reads an array of texts; nil for null.
func ReadNames(s *Scanner, into *[]string) error {
	value, err := s.Value()
	if err != nil {
		return err
	}
	*into = nil
	if json.Unmarshal(value, into) != nil {
		return s.Invalid("", "must be an array of texts")
	}
	return nil
}

// ReadDirectory reads working_directory: a text, or null.
func (w *Work) ReadDirectory(s *Scanner) error {
	text, err := s.Text()
	w.directory = Unquote(text)
	return err
}

// ReadSession reads session_id: a text, or null.
func (w *Work) ReadSession(s *Scanner) error {
	text, err := s.Text()
	w.session = Unquote(text)
	return err
}

// WorkSession documents session_id.
func WorkSession() *openapi.Schema {
	return openapi.Nullable(openapi.Text("This service's own: a session of the key (`POST /v1/sessions`) answers. Only the last message is sent to it: it keeps the conversation, its system prompt, its model and its tools. While it answers another message: 409."))
}

// NoWork says what 501 means where a request asks for tools of the CLI's own.
const NoWork = "The request asks for tools of the CLI's own, and this service has none: there is no CLI, or `--max-tasks` is 0."

// WorkTools documents allowed_tools.
func WorkTools() *openapi.Schema {
	return openapi.Nullable(&openapi.Schema{
		Type: openapi.Array, Items: openapi.Text(""),
		Description: "This service's own: the CLI answers on a process with these of its tools, each maybe with a rule behind it (`Bash(git log:*)`). Absent beside `working_directory`: all that the key's profile allows.",
	})
}

// WorkDirectory documents working_directory.
func WorkDirectory() *openapi.Schema {
	return openapi.Nullable(openapi.Text("This service's own: the folder in which the CLI answers with its tools. Absent beside `allowed_tools`: a new, empty one."))
}

// Ask has a call served by a process with tools of its own, where there is anything
// asked of one. It refuses what the caller's profile doesn't allow, and folders in
// which nobody may work, before anything is started. seconds is the request's timeout;
// nil and 0: as long as the profile allows.
func (w *Work) Ask(g *gateway.Gateway, call *gateway.Call, seconds *float64) error {
	switch {
	case w.session != "" && (len(w.tools) > 0 || w.directory != ""):
		return apierror.Invalid("session_id", "session_id: a session has its own allowed_tools and working_directory")
	case w.session == "" && len(w.tools) == 0 && w.directory == "":
		return nil
	}
	work, caller := &gateway.Work{Tools: w.tools, Timeout: call.Caller.Permissions.MaxTimeout}, call.Caller
	for _, tool := range w.tools {
		if !caller.Permissions.Tool(tool) {
			return &apierror.Error{
				Category: apierror.Permission, Param: "allowed_tools",
				Message: "allowed_tools: holds a tool that the key's profile doesn't allow",
			}
		}
	}
	if work.Session = w.session; w.session == "" && len(w.tools) == 0 {
		work.Tools = []string{gateway.All}
	}
	if seconds != nil && work.Timeout > 0 && *seconds > work.Timeout.Seconds() {
		return &apierror.Error{
			Category: apierror.Permission, Param: "timeout",
			Message: fmt.Sprintf("timeout: the key's profile allows at most %s", work.Timeout),
		}
	}
	if w.directory != "" {
		var err error
		if work.Directory, err = g.Directory(caller, w.directory); err != nil {
			return err
		}
	}
	call.Work, call.Metered = work, true
	return nil
}
