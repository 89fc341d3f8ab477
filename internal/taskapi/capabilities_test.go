package taskapi_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"claude-code-api-service/internal/capability"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/taskapi"
)

// permitted is an Authenticator of callers with these permissions.
type permitted struct {
	protocoltest.Rooms
	gateway.Permissions
}

// Authenticate implements gateway.Authenticator.
func (p *permitted) Authenticate(ctx context.Context, key, address string) (*gateway.Caller, error) {
	caller, err := p.Rooms.Authenticate(ctx, key, address)
	if err != nil {
		return nil, err
	}
	other := *caller
	other.Permissions = p.Permissions
	return &other, nil
}

// catalogue is a taskapi.Catalogue that says for which folder it was asked.
type catalogue struct{}

// Allowed implements taskapi.Catalogue.
func (catalogue) Allowed(p gateway.Permissions, directory string) capability.Allowed {
	return capability.Allowed{
		Agents: []capability.Agent{
			{Name: "reviewer", Description: "Reviews \"it\".", Tools: []string{"Read", "Grep"}, Model: "sonnet", Origin: capability.Home},
			{Name: "Plan", Description: "Plans in " + directory + ".", Origin: capability.BuiltIn},
		},
		Skills: []capability.Skill{{Name: "deploy", Description: "Deploys.", Tools: []string{"Bash(make:*)"}, Origin: capability.Project}},
		Tools:  p.AllowedTools,
	}
}

func TestCapabilities(t *testing.T) {
	folder := t.TempDir()
	rooms := &permitted{Permissions: gateway.Permissions{AllowedTools: []string{"Read"}, WorkingDirectories: []string{folder}}}
	api := &taskapi.Capabilities{Catalogue: catalogue{}, Gateway: gateway.New(gateway.Options{
		Authenticator: rooms, Admitter: rooms, Router: rooms, Recorder: rooms, Observer: rooms, Roots: []string{"/"},
	})}
	url := protocoltest.Server(t, api.Register).URL + "/v1/capabilities"
	operation := protocoltest.Document(t, api.Operations(), "Capabilities").Paths.Value("/v1/capabilities").Get
	const rest = `{"name":"Plan","description":"Plans in FOLDER.","origin":"built-in","tools":["*"],"model":"inherit"}],` +
		`"skills":[{"name":"deploy","description":"Deploys.","origin":"project","tools":["Bash(make:*)"]}],"tools":["Read"]}`
	want := `{"agents":[{"name":"reviewer","description":"Reviews \"it\".","origin":"home","tools":["Read","Grep"],"model":"sonnet"},` + rest
	for _, tt := range []struct {
		name, query, key string
		status           int
		body             string
	}{
		{"without a folder", "", protocoltest.Key, http.StatusOK, strings.ReplaceAll(want, "FOLDER", "")},
		{"in one", "?working_directory=" + folder, protocoltest.Key, http.StatusOK, strings.ReplaceAll(want, "FOLDER", folder)},
		{"in a forbidden one", "?working_directory=/etc", protocoltest.Key, http.StatusForbidden, `"param":"working_directory"`},
		{"with another parameter", "?cwd=" + folder, protocoltest.Key, http.StatusBadRequest, `there is working_directory`},
		{"without a key", "", "", http.StatusUnauthorized, `"type":"auth_error"`},
	} {
		answer := protocoltest.Do(t, http.MethodGet, url+tt.query, "", "X-Api-Key", tt.key)
		if answer.Status != tt.status || !strings.Contains(answer.Body, tt.body) {
			t.Errorf("%s: %d %s", tt.name, answer.Status, answer.Body)
		}
		documented := operation.Responses.Status(answer.Status)
		if documented == nil {
			t.Fatalf("%s: %d isn't documented", tt.name, answer.Status)
		}
		if err := protocoltest.Fits(t, documented.Value.Content.Get("application/json").Schema, answer.Body); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
