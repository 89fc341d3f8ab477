package claudecli_test

import (
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

const testModel = "claude-haiku-5-5"

func TestProbeFindsWhatTheRealCLICanDo(t *testing.T) {
	want := map[string]claudecli.Features{
		install.Version:      {Emptying: claudecli.EmptyByRewind, ChangeSystem: true, LiveSettings: true},
		install.OlderVersion: {Emptying: claudecli.EmptyByClear, LiveSettings: true},
	}
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			path := clitest.Path(t, version)
			started := time.Now()
			got, err := claudecli.Probe(t.Context(), claudecli.Options{Path: path, Root: t.TempDir(), Model: testModel}, clitest.NewUpstream(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s in %v", got.Mode(), time.Since(started))
			w := want[version]
			if got.Emptying != w.Emptying || got.ChangeSystem != w.ChangeSystem || got.LiveSettings != w.LiveSettings || got.Version != version {
				t.Errorf("features = %+v, want %+v", got, w)
			}
		})
	}
}
