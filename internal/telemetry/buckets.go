package telemetry

// durationBuckets are those that the conventions give for
// gen_ai.server.request.duration, in seconds, carried on to ten minutes, which
// long answers take.
func durationBuckets() []float64 {
	return []float64{
		0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36,
	}
}

// firstTokenBuckets are those that the conventions give for
// gen_ai.server.time_to_first_token, in seconds.
func firstTokenBuckets() []float64 {
	return []float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
}

// stageBuckets, in seconds, resolve stages that take microseconds and reach to
// ten minutes.
func stageBuckets() []float64 {
	return []float64{
		10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3,
		1, 2.5, 5, 10, 30, 60, 120, 300, 600,
	}
}

// perTokenBuckets are those that the conventions give for
// gen_ai.server.time_per_output_token, in seconds, with two below them: models have
// become faster.
func perTokenBuckets() []float64 {
	return []float64{0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5}
}

// usageBuckets are those that the conventions give for gen_ai.client.token.usage.
func usageBuckets() []float64 {
	return []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}
}
