// Package manifests holds the manifests for Kubernetes against Kubernetes' own types. It
// is a module of its own: those are no business of the service's go.mod.
package manifests

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const folder = "../../deploy/kubernetes"

// serviceMonitor is what is used of the type of Prometheus' operator.
type serviceMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port     string `json:"port"`
			Path     string `json:"path"`
			Interval string `json:"interval"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// kustomization is what is used of kustomize's.
type kustomization struct {
	metav1.TypeMeta `json:",inline"`
	Namespace       string   `json:"namespace"`
	Resources       []string `json:"resources"`
	Images          []struct {
		Name    string `json:"name"`
		NewName string `json:"newName"`
		NewTag  string `json:"newTag"`
	} `json:"images"`
}

// kinds makes an object of each kind that the manifests may be of.
var kinds = map[string]func() any{
	"v1/Namespace":                                  func() any { return &corev1.Namespace{} },
	"v1/ServiceAccount":                             func() any { return &corev1.ServiceAccount{} },
	"v1/Service":                                    func() any { return &corev1.Service{} },
	"apps/v1/Deployment":                            func() any { return &appsv1.Deployment{} },
	"policy/v1/PodDisruptionBudget":                 func() any { return &policyv1.PodDisruptionBudget{} },
	"networking.k8s.io/v1/NetworkPolicy":            func() any { return &networkingv1.NetworkPolicy{} },
	"autoscaling/v2/HorizontalPodAutoscaler":        func() any { return &autoscalingv2.HorizontalPodAutoscaler{} },
	"monitoring.coreos.com/v1/ServiceMonitor":       func() any { return &serviceMonitor{} },
	"kustomize.config.k8s.io/v1beta1/Kustomization": func() any { return &kustomization{} },
}

// objects reads every file: no field that its type doesn't have, none twice.
func objects(t *testing.T) map[string]any {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]any{}
	for _, path := range paths {
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		documents := yamlutil.NewYAMLReader(bufio.NewReader(bytes.NewReader(file)))
		for {
			text, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			var head metav1.TypeMeta
			if err := yaml.Unmarshal(text, &head); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			name := head.APIVersion + "/" + head.Kind
			if kinds[name] == nil {
				t.Fatalf("%s: %s isn't known here", path, name)
			}
			object := kinds[name]()
			if err := yaml.UnmarshalStrict(text, object); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			found[head.Kind] = object
		}
	}
	return found
}

func TestManifests(t *testing.T) {
	all := objects(t)
	if len(all) != len(kinds) {
		t.Fatalf("%d kinds of objects, want %d", len(all), len(kinds))
	}
	d := all["Deployment"].(*appsv1.Deployment)
	pod := d.Spec.Template
	labels := pod.Labels
	for name, selector := range map[string]map[string]string{
		"Deployment": d.Spec.Selector.MatchLabels, "Service": all["Service"].(*corev1.Service).Spec.Selector,
		"PodDisruptionBudget": all["PodDisruptionBudget"].(*policyv1.PodDisruptionBudget).Spec.Selector.MatchLabels,
		"NetworkPolicy":       all["NetworkPolicy"].(*networkingv1.NetworkPolicy).Spec.PodSelector.MatchLabels,
		"spread":              pod.Spec.TopologySpreadConstraints[0].LabelSelector.MatchLabels,
	} {
		for key, value := range selector {
			if labels[key] != value {
				t.Errorf("%s looks for %s=%s, which no pod has", name, key, value)
			}
		}
		if len(selector) == 0 {
			t.Errorf("%s selects everything", name)
		}
	}
	if service := all["Service"].(*corev1.Service); service.Labels["app.kubernetes.io/name"] != all["ServiceMonitor"].(*serviceMonitor).Spec.Selector.MatchLabels["app.kubernetes.io/name"] {
		t.Error("the monitor doesn't find the Service")
	}
	if target := all["HorizontalPodAutoscaler"].(*autoscalingv2.HorizontalPodAutoscaler).Spec.ScaleTargetRef; target.Name != d.Name || target.Kind != "Deployment" {
		t.Errorf("the autoscaler scales %+v", target)
	}

	// The ports are the one that the image listens on.
	c := pod.Spec.Containers[0]
	ports := map[string]int32{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	for name, port := range map[string]string{
		"Service": all["Service"].(*corev1.Service).Spec.Ports[0].TargetPort.StrVal, "monitor": all["ServiceMonitor"].(*serviceMonitor).Spec.Endpoints[0].Port,
		"startup": c.StartupProbe.HTTPGet.Port.StrVal, "liveness": c.LivenessProbe.HTTPGet.Port.StrVal, "readiness": c.ReadinessProbe.HTTPGet.Port.StrVal,
		"network": all["NetworkPolicy"].(*networkingv1.NetworkPolicy).Spec.Ingress[0].Ports[0].Port.StrVal,
	} {
		if ports[port] != 8006 {
			t.Errorf("%s: port %q", name, port)
		}
	}
	if c.LivenessProbe.HTTPGet.Path != "/health" || c.StartupProbe.HTTPGet.Path != "/health" || c.ReadinessProbe.HTTPGet.Path != "/ready" {
		t.Error("a node that isn't ready would be started anew")
	}
	// Every volume that is mounted is there, and its files are where the settings say.
	mounts := map[string]string{}
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	for _, v := range pod.Spec.Volumes {
		if mounts[v.Name] == "" {
			t.Errorf("the volume %s is nowhere", v.Name)
		}
		delete(mounts, v.Name)
	}
	if len(mounts) > 0 {
		t.Errorf("mounts without a volume: %v", mounts)
	}
	for _, e := range c.Env {
		if strings.HasSuffix(e.Name, "_FILE") && !strings.HasPrefix(e.Value, "/run/secrets/claude-api/") {
			t.Errorf("%s is %s", e.Name, e.Value)
		}
		if strings.HasSuffix(e.Name, "_KEY") || strings.HasSuffix(e.Name, "_URL") || strings.HasSuffix(e.Name, "_TOKEN") {
			t.Errorf("%s is in the manifest: a secret belongs into a file", e.Name)
		}
	}
}

// TestTheRestart holds the times against each other (docs/scaling.md, docs/operations.md).
func TestTheRestart(t *testing.T) {
	all := objects(t)
	d := all["Deployment"].(*appsv1.Deployment)
	c := d.Spec.Template.Spec.Containers[0]
	seconds := func(name string) int64 {
		t.Helper()
		for _, e := range c.Env {
			if e.Name == name {
				n, err := strconv.ParseInt(e.Value, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		t.Fatalf("%s isn't set", name)
		return 0
	}
	drain, shutdown := seconds("CLAUDE_API_DRAIN_DELAY"), seconds("CLAUDE_API_SHUTDOWN_TIMEOUT")
	if grace := *d.Spec.Template.Spec.TerminationGracePeriodSeconds; grace < shutdown+10 {
		t.Errorf("a pod gets %d s to end, and the service %d s before it flushes", grace, shutdown)
	}
	if interval := int64(c.ReadinessProbe.PeriodSeconds); drain < 2*interval || drain > shutdown {
		t.Errorf("it drains for %d s of %d s, asked every %d s", drain, shutdown, interval)
	}
	if r := d.Spec.Strategy.RollingUpdate; r.MaxUnavailable.IntValue() != 0 || *d.Spec.Replicas != 3 {
		t.Error("a rollout takes nodes away before there are others")
	}
	if p := all["PodDisruptionBudget"].(*policyv1.PodDisruptionBudget); p.Spec.MaxUnavailable.IntValue() != 1 {
		t.Error("more than one node may be taken away at once")
	}
}

// TestThePodIsConfined holds it against what the namespace enforces, and more.
func TestThePodIsConfined(t *testing.T) {
	all := objects(t)
	if all["Namespace"].(*corev1.Namespace).Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Error("the namespace enforces nothing")
	}
	pod := all["Deployment"].(*appsv1.Deployment).Spec.Template.Spec
	if s := pod.SecurityContext; !*s.RunAsNonRoot || *s.RunAsUser == 0 || *s.FSGroup == 0 || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod runs as %+v", s)
	}
	for _, c := range pod.Containers {
		if s := c.SecurityContext; *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" || len(s.Capabilities.Add) > 0 {
			t.Errorf("%s may %+v", c.Name, s)
		}
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
			t.Errorf("%s has no bounds", c.Name)
		}
	}
	if *pod.AutomountServiceAccountToken {
		t.Error("it has a token of the cluster's")
	}
	// The Service's name makes variables that are the service's own settings.
	if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
		t.Error("Kubernetes sets CLAUDE_API_PORT")
	}
	if policy := all["NetworkPolicy"].(*networkingv1.NetworkPolicy).Spec; len(policy.PolicyTypes) != 2 || len(policy.Ingress[0].From) == 0 {
		t.Error("everybody may call")
	}
}

// TestKustomization: each file is in the list, or is named as one to add.
func TestKustomization(t *testing.T) {
	k := objects(t)["Kustomization"].(*kustomization)
	listed := map[string]bool{"kustomization.yaml": true, "autoscaler.yaml": true, "monitor.yaml": true}
	for _, name := range k.Resources {
		listed[name] = true
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			t.Error(err)
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !listed[e.Name()] {
			t.Errorf("%s is in no list", e.Name())
		}
	}
	if k.Namespace != "claude-api" || k.Images[0].Name != "claude-api" {
		t.Errorf("%+v", k)
	}
}

// A field that no type has is found, and so this test can fail.
func TestUnknownFieldsAreRefused(t *testing.T) {
	if err := yaml.UnmarshalStrict([]byte("spec:\n  replica: 3\n"), &appsv1.Deployment{}); err == nil {
		t.Error("replica was accepted")
	}
}
