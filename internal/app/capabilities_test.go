package app

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/gateway"
)

// TestWhatIsListedIsWhatASessionGets: of the configured HOME a key sees, and its
// session's model is told of, what the profile allows and nothing else.
func TestWhatIsListedIsWhatASessionGets(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			home := t.TempDir()
			for path, name := range map[string]string{
				"agents/reviewer.md": "reviewer", "agents/secret.md": "secretagent", "agents/broken.md": "[broken",
				"skills/deploy/SKILL.md": "deploy", "skills/hush/SKILL.md": "hush",
			} {
				path = filepath.Join(home, ".claude", path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte("---\nname: "+name+"\ndescription: What "+name+" does.\n---\nDo it.\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			a, upstream, _ := working(t, version, func(c *config.Config) { c.ClaudeHome = home })
			if err := a.Keys().SetProfile(t.Context(), apikey.Profile{Name: "some", Permissions: gateway.Permissions{
				AllowedTools: []string{"Read", "Task", "Agent", "Skill"}, AllowedAgents: []string{"reviewer"}, AllowedSkills: []string{"deploy"},
			}}); err != nil {
				t.Fatal(err)
			}
			key := newKey(t, a, "some")
			status, answer := ask(t, a, "GET", "/v1/capabilities", key, "")
			if status != http.StatusOK || !holdsAll(answer, `"name":"reviewer"`, `"name":"deploy"`, `"Read"`) || strings.Contains(answer, "secretagent") || strings.Contains(answer, "hush") || strings.Contains(answer, "broken") {
				t.Errorf("%d %s", status, answer)
			}
			if status, answer := ask(t, a, "POST", "/v1/sessions", newKey(t, a, apikey.ProfileEnterprise), `{"allowed_skills":["deploy","nothing"]}`); status != http.StatusBadRequest || !strings.Contains(answer, `"param":"allowed_skills"`) {
				t.Errorf("a skill that there isn't: %d %s", status, answer)
			}
			s := talk{a, upstream, key, made(t, a, key, "/v1/sessions", `{"model":"haiku"}`)}
			_, body := s.says(t, "which are there")
			if !holdsAll(body, "What reviewer does.", "What deploy does.") || strings.Contains(body, "What secretagent does.") || strings.Contains(body, "What hush does.") || strings.Contains(body, "What [broken does.") {
				t.Errorf("the model is told: %.6000s", body)
			}
		})
	}
}
