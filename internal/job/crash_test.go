package job_test

const childStep = "JOB_TEST_STEP"

func child() {}
