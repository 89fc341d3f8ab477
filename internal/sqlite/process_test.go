package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/usage"
)

// The test binary runs itself as another process. These variables tell that
// process what to do, and on which file.
const (
	childJob  = "SQLITE_TEST_CHILD"
	childPath = "SQLITE_TEST_PATH"
)

// child is the other process.
func child(job string) {
	err := func() error {
		if job == "open jobs" {
			jobs, err := sqlite.OpenJobs(context.Background(), sqlite.JobOptions{Path: os.Getenv(childPath)})
			if err != nil {
				return err
			}
			return jobs.Close()
		}
		db, err := sqlite.Open(context.Background(), sqlite.Options{Path: os.Getenv(childPath)})
		if err != nil {
			return err
		}
		switch job {
		case "open":
			return db.Close()
		case "record":
			return recordForever(db)
		case "keys":
			return errors.Join(createKeys(db), db.Close())
		}
		return fmt.Errorf("no job %q", job)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// recordForever records from 16 goroutines and prints the id of each row that
// was acknowledged.
func recordForever(db *sqlite.DB) error {
	ledger := usage.NewLedger(usage.Options{Store: db})
	var output sync.Mutex
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("req-%d-%d", w, n)
				if err := ledger.Record(context.Background(), gateway.Entry{RequestID: id, Time: time.Now()}); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				output.Lock()
				fmt.Println(id)
				output.Unlock()
			}
		})
	}
	wg.Wait()
	return nil
}

// createKeys makes 50 keys, revokes each second one and prints the texts.
func createKeys(db *sqlite.DB) error {
	keys := apikey.NewKeys(apikey.Options{Store: db})
	for i := range 50 {
		text, key, err := keys.Create(context.Background(), apikey.Create{ProjectID: "child"})
		if err != nil {
			return err
		}
		if i%2 == 1 {
			if _, err := keys.Revoke(context.Background(), key.ID); err != nil {
				return err
			}
		}
		fmt.Println(text)
	}
	return nil
}

func childProcess(t *testing.T, job, path string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childJob+"="+job, childPath+"="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestKilledProcessLosesNothingAcknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	cmd := childProcess(t, "record", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const enough = 2000
	var acknowledged []string
	reader := bufio.NewReader(out)
	for {
		line, err := reader.ReadString('\n')
		if err == io.EOF {
			break // a line without its end was cut by the kill
		}
		if err != nil {
			t.Fatal(err)
		}
		acknowledged = append(acknowledged, strings.TrimSpace(line))
		if len(acknowledged) == enough {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(acknowledged) < enough {
		t.Fatalf("the child ended by itself after %d rows: %v", len(acknowledged), err)
	}

	db := open(t, sqlite.Options{Path: path})
	rows, err := db.ListUsage(t.Context(), 0, 1_000_000, usage.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]int{}
	for _, row := range rows {
		stored[row.RequestID]++
	}
	for _, id := range acknowledged {
		if stored[id] != 1 {
			t.Errorf("%s was acknowledged and is stored %d times", id, stored[id])
		}
	}
	t.Logf("%d acknowledged, %d stored", len(acknowledged), len(rows))
}

func TestTwoProcessesOnOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	db := open(t, sqlite.Options{Path: path})
	authenticator := apikey.NewAuthenticator(apikey.AuthenticatorOptions{Store: db, Interval: 10 * time.Millisecond})
	ledger := usage.NewLedger(usage.Options{Store: db})

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { authenticator.Watch(ctx) })
	recorded := 0
	wg.Go(func() {
		for ; ctx.Err() == nil; recorded++ {
			if err := ledger.Record(ctx, gateway.Entry{RequestID: "parent"}); err != nil {
				t.Errorf("record beside another writer: %v", err)
				return
			}
		}
	})

	out, err := childProcess(t, "keys", path).Output()
	if err != nil {
		t.Fatalf("the other process: %v", err)
	}
	texts := strings.Fields(string(out))
	if len(texts) != 50 {
		t.Fatalf("%d keys", len(texts))
	}
	for i, text := range texts {
		caller, err := authenticator.Authenticate(ctx, text, "")
		if revoked := i%2 == 1; (err != nil) != revoked {
			t.Errorf("key %d (revoked: %v): %v, %v", i, revoked, caller, err)
		}
	}

	// A revocation from elsewhere reaches the memory of this process.
	keys := apikey.NewKeys(apikey.Options{Store: open(t, sqlite.Options{Path: path})})
	if _, err := keys.Revoke(ctx, texts[0]); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(10 * time.Second)
	for {
		if _, err := authenticator.Authenticate(ctx, texts[0], ""); err != nil {
			break
		}
		select {
		case <-deadline:
			t.Fatal("the revoked key still works")
		case <-time.After(time.Millisecond):
		}
	}
	stop()
	wg.Wait()
	if err := ledger.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if rows, err := db.ListUsage(t.Context(), 0, 1_000_000, usage.Filter{}); err != nil || len(rows) != recorded || recorded == 0 {
		t.Errorf("%d rows, %v; recorded %d", len(rows), err, recorded)
	}
}

func TestManyProcessesOpenANewFileAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	var wg sync.WaitGroup
	for range 6 {
		cmd := childProcess(t, "open", path)
		wg.Go(func() {
			if err := cmd.Run(); err != nil {
				t.Errorf("a process couldn't open the file: %v", err)
			}
		})
	}
	wg.Wait()
	db := open(t, sqlite.Options{Path: path})
	if v, err := db.KeysVersion(t.Context()); err != nil || v != 0 {
		t.Errorf("version %d, %v", v, err)
	}
}
