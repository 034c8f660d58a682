// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/demo/stage"
	"github.com/valetkey/valetkey/hack/prometheus"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/test/docs"
)

// sts is the program of the local cluster that is its STS and IAM.
const sts = "versitygw-iam"

// TestMonitoring has a real Prometheus scrape the operator as the shipped PodMonitor says, evaluate the shipped rules and ask what the
// shipped dashboard asks. Each fault is a real one, and its alert has to come. Only the rules' `for` is a tenth of what is shipped.
func TestMonitoring(t *testing.T) {
	s := newStage(t, false)
	if err := s.Revoker(t.Context()); err != nil {
		t.Fatal(err)
	}
	set(t, s, "{}")
	w := watch(t, s)
	if !t.Run("all is well, and nobody is woken", func(t *testing.T) { w.allIsWell(t) }) {
		return
	}
	for _, fault := range []struct {
		name string
		play func(*testing.T)
	}{
		{"the STS is away, so that nothing is issued and nothing is revoked", w.stsAway},
		{"the audit log's volume cannot be written", w.auditUnwritable},
		{"a node says nothing while a grant is revoked", w.nodeSilent},
		{"the operator is away while a grant expires", w.operatorAway},
		{"the leader has died with a long lease", w.leaderDead},
	} {
		if !t.Run(fault.name, fault.play) {
			return
		}
	}
	t.Run("every query of the dashboard returned data", func(t *testing.T) {
		for query := range w.queries {
			w.await(t, time.Time{}, map[string]string{"alertname": asked, "query": query})
		}
	})
}

// asked is the alert that a query of the dashboard is made into: it fires once the query returns a number.
const asked = "DashboardQuery"

// watcher hears what Prometheus tells.
type watcher struct {
	s       *stage.Stage
	server  *prometheus.Server
	told    chan prometheus.Alert
	heard   []prometheus.Alert
	queries map[string]string
}

func watch(t *testing.T, s *stage.Stage) *watcher {
	t.Helper()
	programs, err := prometheus.Fetch(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{s: s, told: make(chan prometheus.Alert, 1<<16), queries: map[string]string{}}
	dir := t.TempDir()
	w.server, err = programs.Start(t.Context(), prometheus.Config{Dir: dir, Told: w.told,
		Rules:  []string{w.shippedRules(t, dir), w.shippedDashboard(t, dir)},
		Scrape: []map[string]any{w.shippedPodMonitor(t)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.server.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "prometheus.log")) // what is not there cannot be shown
			fmt.Println(string(log))
		}
	})
	return w
}

// manifest reads a file of config/monitoring.
func (w *watcher) manifest(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(w.s.Path(filepath.Join("config", "monitoring", name)))
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func store(t *testing.T, dir, name string, content any) string {
	t.Helper()
	text, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

type group struct {
	Name  string           `json:"name"`
	Rules []map[string]any `json:"rules"`
}

// shippedRules are the shipped ones, with a tenth of each `for`.
func (w *watcher) shippedRules(t *testing.T, dir string) string {
	t.Helper()
	var shipped struct {
		Spec struct {
			Groups []group `json:"groups"`
		} `json:"spec"`
	}
	w.manifest(t, "rules.yaml", &shipped)
	for _, g := range shipped.Spec.Groups {
		for _, rule := range g.Rules {
			if text, ok := rule["for"].(string); ok {
				duration, err := time.ParseDuration(text)
				if err != nil {
					t.Fatal(err)
				}
				rule["for"] = (duration / 10).String()
			}
		}
	}
	return store(t, dir, "rules.yaml", shipped.Spec)
}

// shippedDashboard makes a rule of each query of the dashboard.
func (w *watcher) shippedDashboard(t *testing.T, dir string) string {
	t.Helper()
	var shipped struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				RefID string `json:"refId"`
				Expr  string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	w.manifest(t, "dashboard.json", &shipped)
	g := group{Name: "dashboard"}
	for _, panel := range shipped.Panels {
		for _, target := range panel.Targets {
			name, query := panel.Title+" "+target.RefID, strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")
			w.queries[name] = query
			// What is not a number equals nothing.
			g.Rules = append(g.Rules, map[string]any{"alert": asked, "labels": map[string]string{"query": name},
				"expr": fmt.Sprintf("count((%s) == (%s)) > 0", query, query)})
		}
	}
	return store(t, dir, "dashboard.yaml", map[string]any{"groups": []group{g}})
}

// podMonitor is as much of the shipped one as is used.
type podMonitor struct {
	Metadata struct{ Name, Namespace string } `json:"metadata"`
	Spec     struct {
		Selector            metav1.LabelSelector `json:"selector"`
		PodMetricsEndpoints []struct {
			Port string `json:"port"`
		} `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

// shippedPodMonitor is what prometheus-operator makes of it, but that Debian's Prometheus cannot ask Kubernetes, and asks the test.
func (w *watcher) shippedPodMonitor(t *testing.T) map[string]any {
	t.Helper()
	m := podMonitor{}
	w.manifest(t, "podmonitor.yaml", &m)
	clients, err := kubernetes.NewForConfig(w.s.Cluster.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		pods, err := clients.CoreV1().Pods(m.Metadata.Namespace).List(r.Context(), metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(&m.Spec.Selector)})
		if err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(m.targets(pods.Items)) // Prometheus asks again
	}))
	t.Cleanup(server.Close)
	return map[string]any{"job_name": m.Metadata.Namespace + "/" + m.Metadata.Name,
		"http_sd_configs": []any{map[string]any{"url": server.URL, "refresh_interval": "1s"}}}
}

// targets are the ports of running Pods that have the PodMonitor's name.
func (m podMonitor) targets(pods []corev1.Pod) []map[string]any {
	targets := []map[string]any{}
	for _, pod := range pods {
		for _, c := range pod.Spec.Containers {
			for _, port := range c.Ports {
				if port.Name == m.Spec.PodMetricsEndpoints[0].Port && pod.Status.Phase == corev1.PodRunning {
					targets = append(targets, map[string]any{"targets": []string{net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(port.ContainerPort)))},
						"labels": map[string]string{"namespace": pod.Namespace, "pod": pod.Name, "container": c.Name}})
				}
			}
		}
	}
	return targets
}

// await waits for an alert with these labels that began to fire at this time or later.
func (w *watcher) await(t *testing.T, since time.Time, labels map[string]string) prometheus.Alert {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	for i := 0; ; i++ {
		if i == len(w.heard) {
			select {
			case a := <-w.told:
				w.heard = append(w.heard, a)
			case <-w.server.Exited():
				t.Fatal("Prometheus has ended")
			case <-ctx.Done():
				t.Fatalf("nobody was told of %v (%s)", labels, w.queries[labels["query"]])
			}
		}
		if a := w.heard[i]; !a.StartsAt.Before(since) && has(a.Labels, labels) {
			return a
		}
	}
}

func has(labels, want map[string]string) bool {
	for name, value := range want {
		if labels[name] != value {
			return false
		}
	}
	return true
}

// woken waits for an alert of the shipped rules, and says what somebody on call reads.
func (w *watcher) woken(t *testing.T, since time.Time, alert string, labels ...string) {
	t.Helper()
	want := map[string]string{"alertname": alert}
	for i := 0; i+1 < len(labels); i += 2 {
		want[labels[i]] = labels[i+1]
	}
	a := w.await(t, since, want)
	fmt.Printf("%s after %s: %s %s\n", alert, a.StartsAt.Sub(since).Round(time.Second), a.Annotations["summary"], a.Annotations["description"])
	_, page, found := strings.Cut(a.Annotations["runbook_url"], "/main/")
	if !found || page != "docs/runbooks/"+alert+".md" {
		t.Fatalf("its page is %q", a.Annotations["runbook_url"])
	}
	w.looks(t, page)
}

// looks types the commands of a runbook's part "Look", as somebody does whom the alert has woken.
func (w *watcher) looks(t *testing.T, page string) {
	t.Helper()
	text, err := os.ReadFile(w.s.Path(page))
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	for _, block := range docs.Blocks(string(text)) {
		if block.Run != t.Name()[:strings.Index(t.Name(), "/")] {
			continue
		}
		for _, command := range block.Commands() {
			commands++
			if printed, err := w.types(t, command); err != nil && !strings.Contains(printed, "(InternalError)") && !strings.Contains(printed, "previous terminated container") {
				t.Errorf("%s: %s: %v\n%s", page, command, err, printed)
			}
		}
	}
	if commands == 0 {
		t.Errorf("%s has no command", page)
	}
}

// types runs a command of a page, with names of what there is.
func (w *watcher) types(t *testing.T, command string) (string, error) {
	t.Helper()
	pod := w.kubectl(t, "-n", "valetkey-system", "get", "pods", "-l", "app.kubernetes.io/name=valetkey", "-o", "jsonpath={.items[*].metadata.name}")
	grant := w.kubectl(t, "-n", stage.Namespace, "get", "capgrant", "-o", "jsonpath={.items[0].metadata.name}")
	pod, _, _ = strings.Cut(pod, " ")
	plugin, err := w.s.Plugin(t.Context(), stage.Admin)
	if err != nil {
		t.Fatal(err)
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", strings.NewReplacer("NAMESPACE", stage.Namespace, "NAME", grant, "POD", pod).Replace(command))
	shell.Env = append(plugin.Env, "PATH="+filepath.Dir(w.s.Cluster.Kubectl())+":"+filepath.Dir(plugin.Path)+":"+os.Getenv("PATH"))
	printed, err := shell.CombinedOutput()
	return string(printed), err
}

func (w *watcher) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	text, err := w.s.Kubectl(t.Context(), stage.Admin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (w *watcher) ask(t *testing.T, name, environment string, ttl int, args ...string) {
	t.Helper()
	if err := w.s.Request(t.Context(), stage.Agent, stage.Ask{Name: name, Environment: environment, TTLSeconds: ttl, Args: args}); err != nil {
		t.Fatal(err)
	}
}

func (w *watcher) delivered(t *testing.T, name string) *v1alpha1.CapabilityGrant {
	t.Helper()
	g, err := w.s.AwaitGrant(t.Context(), name, v1alpha1.ConditionDelivered)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// allIsWell has grants end as they should, one by one: a rate is of what was scraped before.
func (w *watcher) allIsWell(t *testing.T) {
	w.await(t, time.Time{}, map[string]string{"alertname": asked, "query": "Replicas A"})
	w.ask(t, "waits-for-alice", "preview", 300, "publish", "previews/web-app/waits")
	for _, name := range []string{"one", "two"} {
		w.ask(t, name, "rehearsal", 300, "publish", "previews/web-app/"+name)
		ended(t, w.s, name, v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	}
	w.ask(t, "expires", "rehearsal", 10, "hold")
	g := ended(t, w.s, "expires", v1alpha1.OutcomeExpired, v1alpha1.ReasonExpired)
	w.await(t, time.Time{}, map[string]string{"alertname": asked, "query": "Expiry lateness A"})
	if text := w.openMetrics(t); !strings.Contains(text, `# {lease_id="`+g.Spec.LeaseID+`"}`) {
		t.Errorf("no exemplar names the lease %s:\n%s", g.Spec.LeaseID, text)
	}
	for _, a := range w.heard {
		if a.Labels["alertname"] != asked {
			t.Errorf("somebody is woken: %v", a)
		}
	}
}

func (w *watcher) leader(t *testing.T) string {
	t.Helper()
	pod, err := w.s.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// openMetrics is what the leader tells whoever asks for OpenMetrics.
func (w *watcher) openMetrics(t *testing.T) string {
	t.Helper()
	address := w.kubectl(t, "-n", "valetkey-system", "get", "pod", w.leader(t), "-o", "jsonpath={.status.podIP}")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+net.JoinHostPort(address, "8080")+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	answer, err := (&http.Client{Transport: &http.Transport{}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status, err)
	}
	return string(text)
}

func (w *watcher) stsAway(t *testing.T) {
	w.ask(t, "leaks", "rehearsal", 300, "hold")
	w.delivered(t, "leaks")
	since := time.Now()
	if err := w.s.Cluster.StopProgram(sts); err != nil {
		t.Fatal(err)
	}
	w.ask(t, "stuck", "rehearsal", 300, "hold")
	w.kubectl(t, "-n", stage.Namespace, "annotate", "capgrant", "leaks", v1alpha1.AnnotationRevoke+"=leaked")
	w.woken(t, since, "ValetkeyBackEndErrors", "type", "aws-sts", "operation", "issue")
	w.woken(t, since, "ValetkeyBackEndErrors", "type", "aws-sts", "operation", "revoke")
	w.woken(t, since, "ValetkeyRevocationUnconfirmed")
	w.woken(t, since, "ValetkeyGrantStuck", "state", "issuing")
	w.woken(t, since, "ValetkeyGrantStuck", "state", "ending")
	w.kubectl(t, "-n", stage.Namespace, "annotate", "capgrant", "leaks", v1alpha1.AnnotationAbandon+"=gone")
	w.woken(t, since, "ValetkeyCredentialOutlivedGrant", "by", "abandoned")
	if err := errors.Join(w.s.Cluster.StartProgram(sts), w.s.Cluster.WaitReady(t.Context())); err != nil {
		t.Fatal(err)
	}
	w.kubectl(t, "-n", stage.Namespace, "annotate", "capgrant", "stuck", v1alpha1.AnnotationRevoke+"=late")
	ended(t, w.s, "stuck", v1alpha1.OutcomeRevoked, v1alpha1.ReasonRevokedByAnnotation)
}

// auditUnwritable takes away the leader's right to its volume, and the file that it has open.
func (w *watcher) auditUnwritable(t *testing.T) {
	since := time.Now()
	_, number, _ := strings.Cut(w.leader(t), "-")
	replica, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	folder := w.s.AuditDir(replica)
	log, away := filepath.Join(folder, "audit.log"), filepath.Join(folder, "audit.away")
	if err := errors.Join(os.Rename(log, away), os.Chmod(folder, 0o500)); err != nil {
		t.Fatal(err)
	}
	w.ask(t, "unaudited", "rehearsal", 300, "hold")
	w.woken(t, since, "ValetkeyAuditFailing")
	if err := errors.Join(os.Rename(away, log), os.Chmod(folder, 0o750)); err != nil {
		t.Fatal(err)
	}
	w.delivered(t, "unaudited")
}

func (w *watcher) nodeSilent(t *testing.T) {
	w.ask(t, "unseen", "rehearsal", 300, "hold")
	if err := w.s.AwaitRunning(t.Context(), "unseen"); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	if err := w.s.Cluster.Signal("kubelet", syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.kubectl(t, "-n", stage.Namespace, "annotate", "capgrant", "unseen", v1alpha1.AnnotationRevoke+"=suspicious")
	w.woken(t, since, "ValetkeyEndNotSeen")
	says := w.kubectl(t, "-n", stage.Namespace, "get", "capgrant", "unseen", "-o", `jsonpath={.status.conditions[?(@.type=="Ended")]}`)
	if !strings.Contains(says, `"status":"Unknown"`) || !strings.Contains(says, "node node1 has not reported that the containers of Pod valetkey-unseen") {
		t.Errorf("of its end it says %s", says)
	}
	if err := w.s.Cluster.Signal("kubelet", syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	ended(t, w.s, "unseen", v1alpha1.OutcomeRevoked, v1alpha1.ReasonRevokedByAnnotation)
	if records(t, w.s, "unseen", audit.EventEndNotSeen) != 1 {
		t.Error("it is not on record that its end was not seen")
	}
}

func (w *watcher) operatorAway(t *testing.T) {
	w.ask(t, "late", "rehearsal", 10, "hold")
	due := w.delivered(t, "late").Status.ExpiresAt
	since := time.Now()
	if err := w.s.StopOperator(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.woken(t, since, "ValetkeyDown")
	// It is that late that is tried here.
	select {
	case <-time.After(time.Until(due.Add(61 * time.Second))):
	case <-t.Context().Done():
	}
	if err := w.s.StartOperator(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.woken(t, since, "ValetkeyExpiryLate")
	ended(t, w.s, "late", v1alpha1.OutcomeExpired, v1alpha1.ReasonExpired)
}

// leaderDead gives the lease to one that is not there.
func (w *watcher) leaderDead(t *testing.T) {
	since := time.Now()
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"holderIdentity": "one-that-died", "leaseDurationSeconds": 600, "renewTime": since.UTC().Format("2006-01-02T15:04:05.000000Z")}})
	if err != nil {
		t.Fatal(err)
	}
	w.kubectl(t, "-n", "valetkey-system", "patch", "lease", "valetkey", "--type=merge", "-p", string(patch))
	w.woken(t, since, "ValetkeyNoLeader")
	w.kubectl(t, "-n", "valetkey-system", "delete", "lease", "valetkey")
}
