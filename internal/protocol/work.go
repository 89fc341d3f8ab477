package protocol

import (
	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// Work is what a request asks of a worker with tools of its own: allowed_tools and
// working_directory.
type Work struct {
	tools     []string
	directory string
}

// ReadTools reads allowed_tools: an array of texts, or null. asked says that there
// is one.
func (w *Work) ReadTools(s *Scanner) (asked bool, err error) {
	value, err := s.Value()
	if err != nil {
		return false, err
	}
	w.tools = nil
	if json.Unmarshal(value, &w.tools) != nil {
		return false, s.Invalid("", "must be an array of texts")
	}
	return len(w.tools) > 0, nil
}

// ReadDirectory reads working_directory: a text, or null. asked says that it isn't
// empty.
func (w *Work) ReadDirectory(s *Scanner) (asked bool, err error) {
	value, err := s.Value()
	if err != nil {
		return false, err
	}
	w.directory = ""
	if json.Unmarshal(value, &w.directory) != nil {
		return false, s.Invalid("", "must be a text")
	}
	return w.directory != "", nil
}

// Permitted refuses what the caller's profile doesn't allow, and folders in which
// nobody may work, before anything is started.
func (w *Work) Permitted(g *gateway.Gateway, caller *gateway.Caller) error {
	for _, tool := range w.tools {
		if !caller.Permissions.Tool(tool) {
			return &apierror.Error{
				Category: apierror.Permission, Param: "allowed_tools",
				Message: "allowed_tools: holds a tool that the key's profile doesn't allow",
			}
		}
	}
	if w.directory == "" {
		return nil
	}
	_, err := g.Directory(caller, w.directory)
	return err
}
