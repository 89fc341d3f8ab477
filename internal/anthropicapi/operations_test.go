package anthropicapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"claude-code-api-service/internal/anthropicapi"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

// TestOperations holds real answers against the document.
func TestOperations(t *testing.T) {
	operations := anthropicapi.New(anthropicapi.Options{}).Operations()
	text, err := openapi.Write(openapi.Info{Title: "t", Version: "1", Description: "d"}, operations)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, method, path, route, body string
		rooms                           *protocoltest.Rooms
		status                          int
	}{
		{"message", http.MethodPost, "/v1/messages", "/v1/messages", plain, &protocoltest.Rooms{Message: []byte(whole)}, 200},
		{"no max_tokens", http.MethodPost, "/v1/messages", "/v1/messages", `{"messages":[]}`, &protocoltest.Rooms{}, 400},
		{"budget", http.MethodPost, "/v1/messages", "/v1/messages", plain, &protocoltest.Rooms{Err: apierror.New(apierror.BudgetExceeded, "spent")}, 402},
		{"full", http.MethodPost, "/v1/messages", "/v1/messages", plain, &protocoltest.Rooms{Err: apierror.New(apierror.Overloaded, "full")}, 503},
		{"count", http.MethodPost, "/v1/messages/count_tokens", "/v1/messages/count_tokens", plain, &protocoltest.Rooms{Message: []byte(`{"input_tokens":1}`)}, 200},
		{"models", http.MethodGet, "/v1/models", "/v1/models", "", &protocoltest.Rooms{}, 200},
		{"an empty page", http.MethodGet, "/v1/models?after_id=haiku", "/v1/models", "", &protocoltest.Rooms{}, 200},
		{"a bad page", http.MethodGet, "/v1/models?limit=0", "/v1/models", "", &protocoltest.Rooms{}, 400},
		{"model", http.MethodGet, "/v1/models/claude-haiku-5-5", "/v1/models/{id}", "", &protocoltest.Rooms{}, 200},
		{"no model", http.MethodGet, "/v1/models/x", "/v1/models/{id}", "", &protocoltest.Rooms{}, 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := protocoltest.Do(t, test.method, serve(t, test.rooms)+test.path, test.body, "X-Api-Key", protocoltest.Key)
			if answer.Status != test.status {
				t.Fatalf("%d %s", answer.Status, answer.Body)
			}
			response := doc.Paths.Value(test.route).GetOperation(test.method).Responses.Status(test.status)
			if response == nil {
				t.Fatalf("the document has no %d", test.status)
			}
			var value any
			if err := json.Unmarshal([]byte(answer.Body), &value); err != nil {
				t.Fatal(err)
			}
			if err := response.Value.Content.Get(openapi.JSON).Schema.Value.VisitJSON(value); err != nil {
				t.Errorf("%v: %s", err, answer.Body)
			}
		})
	}
	for _, o := range operations {
		if o.Request != nil && !strings.Contains(o.Description, "direct path") && !strings.Contains(o.Description, "CLI path") {
			t.Errorf("%s doesn't say what the backends do", o.ID)
		}
	}
}
