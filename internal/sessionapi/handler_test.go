package sessionapi_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/session"
	"claude-code-api-service/internal/sessionapi"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(int) { http.DefaultClient.CloseIdleConnections() }))
}

// sessions is a sessionapi.Sessions that knows sess_1 and remembers what it was asked.
type sessions struct {
	asked []string
	wish  session.Wish
	err   error
}

var one = session.Session{
	ID: "sess_1", Parent: "sess_0", Model: "haiku", System: "be brief", Tools: []string{"Read"}, Agents: []string{"*"}, Skills: []string{},
	Directory: "/srv", Turns: 2, TTL: time.Hour, Created: time.Unix(0, 0), Used: time.Unix(60, 0),
}

func (s *sessions) ask(what, keyID, id string) (session.Session, error) {
	s.asked = append(s.asked, what+" "+keyID+" "+id)
	if id != "sess_1" && s.err == nil {
		return session.Session{}, &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: "session_id", Message: "there is no such session"}
	}
	return one, s.err
}

func (s *sessions) Create(_ context.Context, caller *gateway.Caller, w session.Wish) (session.Session, error) {
	s.wish = w
	return s.ask("create", caller.KeyID, "sess_1")
}

func (s *sessions) Get(_ context.Context, keyID, id string) (session.Session, error) {
	return s.ask("get", keyID, id)
}

func (s *sessions) List(_ context.Context, keyID string) ([]session.Session, error) {
	found, err := s.ask("list", keyID, "sess_1")
	return []session.Session{found}, err
}

func (s *sessions) Fork(_ context.Context, caller *gateway.Caller, id string) (session.Session, error) {
	return s.ask("fork", caller.KeyID, id)
}

func (s *sessions) Delete(_ context.Context, keyID, id string) error {
	_, err := s.ask("delete", keyID, id)
	return err
}

func TestEndpoints(t *testing.T) {
	const rest = `"allowed_tools":["Read"],"allowed_agents":["*"],"allowed_skills":[],"working_directory":"/srv","turns":2,` +
		`"created_at":"1970-01-01T00:00:00Z","last_used_at":"1970-01-01T00:01:00Z","expires_at":"1970-01-01T01:01:00Z","ttl":3600}`
	const head = `{"id":"sess_1","object":"session","parent_id":"sess_0","model":"haiku",`
	const whole = head + `"system":"be brief",` + rest
	busy := &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeSessionBusy, RetryAfter: time.Second, Message: "busy"}
	for _, tt := range []struct {
		method, path, body string
		fails              error
		status             int
		want, asked        string
	}{
		{"POST", "", `{"model":"haiku"}`, nil, 201, whole, "create k1 sess_1"},
		{"POST", "", "", nil, 201, whole, "create k1 sess_1"},
		{"POST", "", `{"model":7}`, nil, 400, `"param":"model"`, ""},
		{"POST", "", `{"allowed_tools":"Read"}`, nil, 400, `"param":"allowed_tools"`, ""},
		{"POST", "", `{"ttl":0}`, nil, 400, `"param":"ttl"`, ""},
		{"GET", "", "", nil, 200, `{"sessions":[` + head + rest + `]}`, "list k1 sess_1"},
		{"GET", "/sess_1", "", nil, 200, whole, "get k1 sess_1"},
		{"GET", "/sess_2", "", nil, 404, `"code":"not_found"`, "get k1 sess_2"},
		{"POST", "/sess_1/fork", "", nil, 201, whole, "fork k1 sess_1"},
		{"POST", "/sess_1/fork", "", busy, 409, `"code":"session_busy"`, "fork k1 sess_1"},
		{"DELETE", "/sess_1", "", nil, 200, `{"id":"sess_1","deleted":true}`, "delete k1 sess_1"},
		{"DELETE", "/sess_2", "", nil, 404, `"detail":"there is no such session"`, "delete k1 sess_2"},
	} {
		t.Run(tt.method+tt.path+tt.body, func(t *testing.T) {
			s := &sessions{err: tt.fails}
			rooms := &protocoltest.Rooms{}
			api := sessionapi.New(sessionapi.Options{Gateway: rooms.Gateway(), Sessions: s})
			answer := protocoltest.Do(t, tt.method, protocoltest.Server(t, api.Register).URL+"/v1/sessions"+tt.path, tt.body, "X-Api-Key", protocoltest.Key)
			if answer.Status != tt.status || !strings.Contains(answer.Body, tt.want) || strings.Join(s.asked, ", ") != tt.asked {
				t.Errorf("%d %s; asked: %q", answer.Status, answer.Body, s.asked)
			}
			if location := answer.Header.Get("Location"); (location == "/v1/sessions/sess_1") != (tt.status == 201) {
				t.Errorf("Location: %q", location)
			}
			path := "/v1/sessions" + strings.NewReplacer("/sess_1", "/{id}", "/sess_2", "/{id}").Replace(tt.path)
			operation := protocoltest.Document(t, api.Operations(), "Session").Paths.Value(path).GetOperation(tt.method)
			documented := operation.Responses.Status(answer.Status)
			if documented == nil {
				t.Fatalf("%d isn't documented", answer.Status)
			}
			if err := protocoltest.Fits(t, documented.Value.Content.Get("application/json").Schema, answer.Body); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWishes(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{`{}`, `{"" "" [] [] [] "" 0s} nil nil nil`},
		{`{"model":null,"allowed_tools":null,"ttl":null}`, `{"" "" [] [] [] "" 0s} nil nil nil`},
		{
			`{"model":"haiku","system":"s","allowed_tools":[],"allowed_agents":["a"],"allowed_skills":["b","c"],"working_directory":"/srv","ttl":60}`,
			`{"haiku" "s" [] ["a"] ["b" "c"] "/srv" 1m0s} some some some`,
		},
	} {
		s := &sessions{}
		rooms := &protocoltest.Rooms{}
		url := protocoltest.Server(t, sessionapi.New(sessionapi.Options{Gateway: rooms.Gateway(), Sessions: s}).Register).URL + "/v1/sessions"
		answer := protocoltest.Post(t, url, strings.TrimSuffix(tt.body, "}")+strings.Repeat(",", min(1, len(tt.body)-2))+`"other":1}`)
		w := s.wish
		got := fmt.Sprintf("{%q %q %q %q %q %q %s}", w.Model, w.System, w.Tools, w.Agents, w.Skills, w.Directory, w.TTL)
		for _, list := range [][]string{w.Tools, w.Agents, w.Skills} {
			if list == nil {
				got += " nil"
			} else {
				got += " some"
			}
		}
		if got != tt.want {
			t.Errorf("%s: %s", tt.body, got)
		}
		if warnings := answer.Header.Get("X-Claude-Warnings"); warnings != "other: has no effect here" {
			t.Errorf("warnings: %s", warnings)
		}
	}
}

func TestWithoutSessions(t *testing.T) {
	rooms := &protocoltest.Rooms{}
	url := protocoltest.Server(t, sessionapi.New(sessionapi.Options{Gateway: rooms.Gateway()}).Register).URL + "/v1/sessions"
	for _, path := range []string{"", "/sess_1"} {
		if answer := protocoltest.Do(t, http.MethodGet, url+path, "", "X-Api-Key", protocoltest.Key); answer.Status != http.StatusNotImplemented {
			t.Errorf("%s: %d %s", path, answer.Status, answer.Body)
		}
	}
	if answer := protocoltest.Do(t, http.MethodGet, url, ""); answer.Status != http.StatusUnauthorized {
		t.Errorf("without a key: %d %s", answer.Status, answer.Body)
	}
}
