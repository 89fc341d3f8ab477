package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/usage"
)

// seed FOLDER FILE writes the file's lines into a data folder, with variables
// expanded, as the service would have:
//
//	project ID
//	usage TIME PROJECT KEY MODEL INPUT OUTPUT CACHE-READ CACHE-WRITTEN MICRO-USD CHARGED
//	audit TIME ACTOR ADDRESS ACTION TARGET PROJECT REQUEST-ID DETAIL…
//
// - is nothing, and now is a time.
func seed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: seed FOLDER FILE")
	}
	ctx := context.Background()
	db, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(ts.MkAbs(args[0]), "claude-api.db")})
	ts.Check(err)
	defer func() { ts.Check(db.Close()) }()
	for line := range strings.Lines(os.Expand(ts.ReadFile(args[1]), ts.Getenv)) {
		words := strings.Fields(line)
		for i, word := range words {
			if word == "-" {
				words[i] = ""
			}
		}
		switch {
		case len(words) == 2 && words[0] == "project":
			ts.Check(db.PutProject(ctx, apikey.Project{ID: words[1]}))
		case len(words) == 11 && words[0] == "usage":
			ts.Check(seedUsage(ctx, db, words[1:]))
		case len(words) > 7 && words[0] == "audit":
			at, err := seedTime(words[1])
			ts.Check(err)
			ts.Check(db.AppendAudit(ctx, []audit.Event{{
				Time: at, Actor: words[2], Address: words[3], Action: words[4], Target: words[5], Project: words[6], RequestID: words[7],
				Detail: strings.Join(words[8:], " "),
			}}))
		default:
			ts.Fatalf("seed: %q", line)
		}
	}
}

func seedTime(text string) (time.Time, error) {
	if text == "now" {
		return time.Now(), nil
	}
	return time.Parse(time.RFC3339, text)
}

func seedUsage(ctx context.Context, db *sqlite.DB, words []string) error {
	at, err := seedTime(words[0])
	if err != nil {
		return err
	}
	project, err := db.Project(ctx, words[1])
	if err != nil {
		return err
	}
	zone, err := zoneOf(project)
	if err != nil {
		return err
	}
	var numbers [6]int64
	for i := range numbers {
		if text := words[4+i]; text != "" {
			if numbers[i], err = strconv.ParseInt(text, 10, 64); err != nil {
				return err
			}
		}
	}
	row := usage.Row{
		RequestID: "req_" + words[3], Time: at, Endpoint: "/v1/messages", KeyID: words[2], ProjectID: words[1], Backend: "direct",
		Requested: "sonnet", Routed: words[3], Answered: words[3], StopReason: "end_turn", Status: 200,
		Usage: message.Usage{InputTokens: numbers[0], OutputTokens: numbers[1], CacheReadInputTokens: numbers[2], CacheCreationInputTokens: numbers[3]},
	}
	for s := range row.Micros {
		row.Micros[s] = int64(100 + s)
	}
	row.Micros[latency.Queue], row.Micros[latency.Record] = usage.NotMeasured, usage.NotMeasured
	sum := usage.Sum{
		Day: budget.Day.Start(at.In(zone)).UTC(), ProjectID: row.ProjectID, KeyID: row.KeyID, Model: row.Answered,
		Requests: 1, Usage: row.Usage, CostMicroUSD: numbers[4], Charged: budget.Amount{MicroUSD: numbers[5]},
	}
	if words[8] == "" {
		sum.Unpriced = 1
	} else {
		row.CostMicroUSD = &numbers[4]
	}
	return db.AppendUsage(ctx, []usage.Row{row}, []usage.Sum{sum})
}
