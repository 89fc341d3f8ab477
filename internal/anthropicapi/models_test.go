package anthropicapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/anthropicapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

func models() []anthropicapi.Model {
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return []anthropicapi.Model{
		{ID: "claude-haiku-5-5", DisplayName: "Claude Haiku 5.5", Created: created},
		{ID: "claude-opus-5-5", Created: created},
		{ID: "haiku", DisplayName: "Claude Haiku 5.5 (alias)", Created: created},
	}
}

func TestModels(t *testing.T) {
	tests := []struct {
		query   string
		status  int
		ids     string
		hasMore bool
	}{
		{"", 200, "claude-haiku-5-5 claude-opus-5-5 haiku", false},
		{"?limit=1000", 200, "claude-haiku-5-5 claude-opus-5-5 haiku", false},
		{"?limit=2", 200, "claude-haiku-5-5 claude-opus-5-5", true},
		{"?limit=1&after_id=claude-haiku-5-5", 200, "claude-opus-5-5", true},
		{"?after_id=haiku", 200, "", false},
		{"?limit=1&before_id=haiku", 200, "claude-opus-5-5", true},
		{"?before_id=claude-opus-5-5", 200, "claude-haiku-5-5", false},
		{"?limit=0", 400, "limit", false},
		{"?limit=1001", 400, "limit", false},
		{"?limit=x", 400, "limit", false},
		{"?after_id=x", 400, "after_id", false},
		{"?before_id=x", 400, "before_id", false},
		{"?before_id=haiku&after_id=haiku", 400, "before_id", false},
	}
	url := serve(t, &protocoltest.Rooms{})
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			answer := protocoltest.Do(t, http.MethodGet, url+"/v1/models"+tt.query, "", "Authorization", "Bearer "+protocoltest.Key)
			if answer.Status != tt.status {
				t.Fatalf("%d %s", answer.Status, answer.Body)
			}
			if tt.status != http.StatusOK {
				if !strings.Contains(answer.Body, tt.ids+": ") {
					t.Errorf("body %s doesn't name %s", answer.Body, tt.ids)
				}
				return
			}
			var list struct {
				Object  string  `json:"object"`
				HasMore bool    `json:"has_more"`
				FirstID *string `json:"first_id"`
				LastID  *string `json:"last_id"`
				Data    []struct {
					ID string `json:"id"`
				} `json:"data"`
			}
			if err := json.Unmarshal([]byte(answer.Body), &list); err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, m := range list.Data {
				ids = append(ids, m.ID)
			}
			if got := strings.Join(ids, " "); got != tt.ids || list.HasMore != tt.hasMore || list.Object != "list" {
				t.Errorf("ids %q, has_more %v, object %q", got, list.HasMore, list.Object)
			}
			if len(ids) == 0 {
				if list.FirstID != nil || list.LastID != nil {
					t.Errorf("first_id and last_id of an empty page: %v %v", list.FirstID, list.LastID)
				}
			} else if *list.FirstID != ids[0] || *list.LastID != ids[len(ids)-1] {
				t.Errorf("first_id %s, last_id %s", *list.FirstID, *list.LastID)
			}
		})
	}
}

func TestModel(t *testing.T) {
	url := serve(t, &protocoltest.Rooms{}) + "/v1/models/"
	answer := protocoltest.Do(t, http.MethodGet, url+"claude-haiku-5-5", "", "x-api-key", protocoltest.Key)
	want := `{"id":"claude-haiku-5-5","object":"model","created":1767323045,"owned_by":"anthropic","type":"model","display_name":"Claude Haiku 5.5","created_at":"2026-01-02T03:04:05Z"}`
	if answer.Status != http.StatusOK || answer.Body != want {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
	answer = protocoltest.Do(t, http.MethodGet, url+"gpt-4", "", "x-api-key", protocoltest.Key)
	want = `{"type":"error","error":{"type":"not_found_error","message":"model: gpt-4 doesn't exist","param":null,"code":"model_not_found"},"request_id":"req_test"}`
	if answer.Status != http.StatusNotFound || answer.Body != want {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
	answer = protocoltest.Do(t, http.MethodGet, url+"haiku", "")
	if answer.Status != http.StatusUnauthorized || !strings.Contains(answer.Body, `"code":"invalid_api_key"`) {
		t.Errorf("without a key: %d %s", answer.Status, answer.Body)
	}
}
