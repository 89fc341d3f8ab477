package apikey_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/gateway"
)

func TestPermissionsAsTheContractWritesThem(t *testing.T) {
	p := gateway.Permissions{
		AllowedTools: []string{"Read", "*"}, BlockedTools: []string{"Bash"}, AllowedAgents: []string{"a"}, AllowedSkills: []string{"s"},
		MaxCostMicroUSD: 1_250_001, MaxTimeout: 90*time.Second + 5*time.Millisecond, WorkingDirectories: []string{"/srv"},
	}
	const text = `{"allowed_tools":["Read","*"],"blocked_tools":["Bash"],"allowed_agents":["a"],"allowed_skills":["s"],` +
		`"max_cost_per_task":1.250001,"max_timeout":90.005,"working_directories":["/srv"]}`
	if got := string(apikey.FormatPermissions(p)); got != text {
		t.Errorf("written as\n%s\nwant\n%s", got, text)
	}
	for name, c := range map[string]struct {
		text string
		want gateway.Permissions
	}{
		"all of it":        {text, p},
		"nothing":          {`{}`, gateway.Permissions{}},
		"nothing, in full": {string(apikey.FormatPermissions(gateway.Permissions{})), gateway.Permissions{}},
		"null":             {`{"allowed_tools":null,"max_timeout":null}`, gateway.Permissions{}},
		"whole numbers":    {`{"max_cost_per_task":1,"max_timeout":300}`, gateway.Permissions{MaxCostMicroUSD: 1_000_000, MaxTimeout: 5 * time.Minute}},
	} {
		if got, err := apikey.ParsePermissions([]byte(c.text)); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func TestParsePermissionsRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, param string }{
		"no JSON":               {`allowed_tools`, "permissions"},
		"a list":                {`[]`, "permissions"},
		"something behind it":   {`{} {}`, "permissions"},
		"a misspelt member":     {`{"allowed_tool":[]}`, "allowed_tool"},
		"a member twice":        {`{"max_timeout":1,"max_timeout":2}`, "permissions"},
		"a text for a list":     {`{"allowed_tools":"Read"}`, "allowed_tools"},
		"a number in a list":    {`{"allowed_tools":[1]}`, "allowed_tools"},
		"a text for a number":   {`{"max_cost_per_task":"1"}`, "max_cost_per_task"},
		"a negative cost":       {`{"max_cost_per_task":-0.1}`, "max_cost_per_task"},
		"a cost too fine":       {`{"max_cost_per_task":1e-9}`, "max_cost_per_task"},
		"a huge cost":           {`{"max_cost_per_task":1e300}`, "max_cost_per_task"},
		"a negative timeout":    {`{"max_timeout":-1}`, "max_timeout"},
		"a timeout too fine":    {`{"max_timeout":1e-9}`, "max_timeout"},
		"a timeout of an epoch": {`{"max_timeout":1e12}`, "max_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := apikey.ParsePermissions([]byte(c.text))
			var e *apierror.Error
			if !errors.As(err, &e) || e.Category != apierror.BadRequest || e.Param != c.param {
				t.Errorf("error is %v, want bad_request that names %s", err, c.param)
			}
		})
	}
}

// FuzzPermissions: what was read can be written and read again.
func FuzzPermissions(f *testing.F) {
	f.Add(`{"allowed_tools":["Read"],"max_cost_per_task":0.1,"max_timeout":1.5}`)
	f.Add(`{"max_cost_per_task":999999.999999,"max_timeout":31622400}`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := apikey.ParsePermissions([]byte(text))
		if err != nil {
			return
		}
		if again, err := apikey.ParsePermissions(apikey.FormatPermissions(p)); err != nil || !reflect.DeepEqual(again, p) {
			t.Errorf("read as %+v, and again as %+v, %v", p, again, err)
		}
	})
}

func TestBuiltInProfiles(t *testing.T) {
	for _, c := range []struct {
		name          string
		tools, agents int
		cost          int64
		all           bool
	}{{"free", 3, 0, 100_000, false}, {"pro", 9, 0, 1_000_000, false}, {"enterprise", 1, 1, 10_000_000, true}} {
		var p gateway.Permissions
		for _, profile := range apikey.BuiltIn() {
			if profile.Name == c.name {
				p = profile.Permissions
			}
		}
		if len(p.AllowedTools) != c.tools || len(p.AllowedAgents) != c.agents || len(p.AllowedSkills) != c.agents ||
			len(p.WorkingDirectories) != c.agents || p.MaxCostMicroUSD != c.cost || (p.AllowedTools[0] == gateway.All) != c.all {
			t.Errorf("%s permits %+v", c.name, p)
		}
	}
}
