package job_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/postgres/pgtest"
)

// BenchmarkInsertToWork measures from before Submit to the beginning of the work, one job
// after the other.
func BenchmarkInsertToWork(b *testing.B) {
	for name, where := range map[string]func(b *testing.B) place{
		"SQLite":     func(b *testing.B) place { return place{file: filepath.Join(b.TempDir(), "tasks.db")} },
		"PostgreSQL": func(b *testing.B) place { return place{url: pgtest.Database(b)} },
	} {
		b.Run(name, func(b *testing.B) {
			began := make(chan time.Time)
			n := engine(b, where(b), job.Options{Workers: map[job.Kind]int{job.KindTask: 2}})
			n.Handle(job.KindTask, func(context.Context, *job.Run) (jsontext.Value, error) {
				began <- time.Now()
				return nil, nil
			})
			if err := n.Start(context.Background()); err != nil {
				b.Fatal(err)
			}
			var took []time.Duration
			for b.Loop() {
				before := time.Now()
				if _, err := n.Submit(context.Background(), task("")); err != nil {
					b.Fatal(err)
				}
				took = append(took, (<-began).Sub(before))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
