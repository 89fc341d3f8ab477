package adminapi

import (
	"cmp"
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/openapi"
)

const (
	pathProjects = "/admin/v1/projects"
	pathProfiles = "/admin/v1/profiles"
)

// projectView is a project as administrators see it.
type projectView struct {
	ID       string     `json:"id"`
	TimeZone string     `json:"time_zone"`
	Limits   limitsView `json:"limits"`
	Keys     int        `json:"keys"`
}

// profileView is a profile as administrators see it.
type profileView struct {
	Name        string         `json:"name"`
	BuiltIn     bool           `json:"built_in"`
	Permissions jsontext.Value `json:"permissions"`
	Keys        int            `json:"keys"`
}

func (h *Handler) accountEndpoints() []endpoint {
	names := func() *openapi.Schema { return openapi.Nullable(openapi.List(openapi.Text(""))) }
	permissions := openapi.Members("AdminPermissions", "What a custom profile is made of.",
		openapi.Always("allowed_tools", names()), openapi.Always("blocked_tools", names()), openapi.Always("allowed_agents", names()), openapi.Always("allowed_skills", names()),
		openapi.Always("max_cost_per_task", openapi.Float("US dollars; 0: no limit.")), openapi.Always("max_timeout", openapi.Float("Seconds; 0: no limit.")),
		openapi.Always("working_directories", names()))
	return []endpoint{
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathProjects, ID: "adminProjects", Summary: "The projects that have settings or keys.",
				Responses: answers(http.StatusOK, "By id.", openapi.Members("AdminProjectList", "", openapi.Always("projects", openapi.List(openapi.Members("AdminProject", "",
					openapi.Always("id", openapi.Text("")), openapi.Always("time_zone", openapi.Text("In which its days begin: an IANA name.")), openapi.Always("limits", limitsSchema()),
					openapi.Always("keys", openapi.Int("How many aren't revoked or expired.")),
				))))),
			},
			serve: h.listProjects,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathProfiles, ID: "adminProfiles", Summary: "The profiles: what keys may permit.",
				Responses: answers(http.StatusOK, "The built-in ones, and then the service's own.", openapi.Members("AdminProfileList", "", openapi.Always("profiles", openapi.List(openapi.Members("AdminProfile", "",
					openapi.Always("name", openapi.Text("")), openapi.Always("built_in", openapi.Flag("It can't be changed.")), openapi.Always("permissions", permissions),
					openapi.Always("keys", openapi.Int("How many have it and aren't revoked or expired.")),
				))))),
			},
			serve: h.listProfiles,
		},
	}
}

// count counts the keys that are neither revoked nor expired, by what of says.
func (h *Handler) count(r *http.Request, of func(k *apikey.Key) string) (map[string]int, error) {
	keys, err := h.options.Keys.List(r.Context())
	if err != nil {
		return nil, err
	}
	now, counts := time.Now(), map[string]int{}
	for i := range keys {
		if k := &keys[i]; k.RevokedAt == nil && (k.ExpiresAt == nil || k.ExpiresAt.After(now)) {
			counts[of(k)]++
		}
	}
	return counts, nil
}

func (h *Handler) listProjects(w http.ResponseWriter, r *http.Request, _ *administrator) error {
	projects, err := h.options.Keys.Projects(r.Context())
	if err != nil {
		return err
	}
	counts, err := h.count(r, func(k *apikey.Key) string { return k.ProjectID })
	if err != nil {
		return err
	}
	views := make([]projectView, len(projects))
	for i, p := range projects {
		views[i] = projectView{p.ID, cmp.Or(p.TimeZone, "UTC"), viewLimits(p.Limits), counts[p.ID]}
	}
	return write(w, http.StatusOK, struct {
		Projects []projectView `json:"projects"`
	}{views})
}

func (h *Handler) listProfiles(w http.ResponseWriter, r *http.Request, _ *administrator) error {
	profiles, err := h.options.Keys.Profiles(r.Context())
	if err != nil {
		return err
	}
	counts, err := h.count(r, func(k *apikey.Key) string { return k.Profile })
	if err != nil {
		return err
	}
	builtIn := len(apikey.BuiltIn()) // they come first
	views := make([]profileView, len(profiles))
	for i, p := range profiles {
		views[i] = profileView{p.Name, i < builtIn, apikey.FormatPermissions(p.Permissions), counts[p.Name]}
	}
	return write(w, http.StatusOK, struct {
		Profiles []profileView `json:"profiles"`
	}{views})
}
