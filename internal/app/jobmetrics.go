package app

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"claude-code-api-service/internal/job"
)

// watchJobs has the metrics count the jobs that this node runs.
func watchJobs(registry prometheus.Registerer, options *job.Options) {
	running := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "claude_api_jobs_running", Help: "Jobs that this node runs: tasks, and requests and batches that are done later.",
	}, []string{"kind"})
	ended := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "claude_api_jobs_total", Help: "Runs of jobs that have ended on this node, by the state of the job then: completed, failed, cancelled, or queued again.",
	}, []string{"kind", "state"})
	waited := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "claude_api_job_wait_seconds", Help: "Time from a job's making to the beginning of its first run.",
		Buckets: []float64{0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400},
	}, []string{"kind"})
	registry.MustRegister(running, ended, waited)
	options.Began = func(j job.Job) {
		running.WithLabelValues(string(j.Kind)).Inc()
		if j.Attempt <= 1 {
			waited.WithLabelValues(string(j.Kind)).Observe(max(0, time.Since(j.Created).Seconds()))
		}
	}
	options.Ended = func(kind job.Kind, state job.State) {
		running.WithLabelValues(string(kind)).Dec()
		ended.WithLabelValues(string(kind), string(state)).Inc()
	}
}
