// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e && heavy

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/demo/stage"
)

const (
	// Of the grants some run until somebody revokes them, some expire a few at a time, from shortly after the last of them runs, and some
	// all within the same seconds.
	long, longTTL   = 100, 900
	short, few      = 50, 5
	burst, burstTTL = 50, 270
	// mostLate is by how much a grant's Secret may outlive its time, beside what the API server takes for two writes meanwhile.
	mostLate = 2 * time.Second
)

// TestManyGrantsOutliveTheirOperators restarts and evicts the operator's replicas, one after the other, from when two hundred grants run until
// half of them has expired, and asks for more meanwhile. None is lost, none is late, and nobody is refused. Whoever only has two writes stored
// waits too while the node ends so many Pods: that is measured beside it.
func TestManyGrantsOutliveTheirOperators(t *testing.T) {
	s := newStage(t, false)
	if _, err := s.Kubectl(t.Context(), stage.Admin, "patch", "cappol", "rehearsals", "--type=merge", "-p", `{"spec":{"limits":{"active":400}}}`); err != nil {
		t.Fatal(err)
	}
	gone, gaps, floor := watchSecrets(t, s), watchLease(t, s), &writes{}
	began := time.Now()
	stay := starts(t, s, "long", long, long, func(int) int { return longTTL })
	starts(t, s, "burst", burst, burst, func(int) int { return burstTTL })
	starts(t, s, "short", short, few, func(i int) int { return 120 + 18*i })
	fmt.Printf("%d grants run %s after the first was asked for; the leader's resident memory: %s\n", long+burst+short, time.Since(began).Round(time.Second), memory(t, s))

	ended, allExpired := context.WithCancel(t.Context())
	var disturbed disturbance
	var working sync.WaitGroup
	working.Go(func() { disturbed.goOn(ended, t, s) })
	working.Go(func() { floor.goOn(ended, t, s) })
	awaitAll(t, s, "burst", burst, v1alpha1.ConditionEnded)
	awaitAll(t, s, "short", short, v1alpha1.ConditionEnded)
	allExpired()
	working.Wait()
	if _, err := s.Kubectl(t.Context(), stage.Admin, slices.Concat([]string{"-n", stage.Namespace, "annotate", "capgrant"}, stay, []string{v1alpha1.AnnotationRevoke + "=enough"})...); err != nil {
		t.Error(err)
	}
	fmt.Printf("meanwhile: %d rollouts, %d evictions of who led, %d more grants; nobody held the lease %s\n", disturbed.rollouts, disturbed.evictions, disturbed.asked, gaps())
	if disturbed.rollouts < 3 || disturbed.evictions < 3 {
		t.Error("that is no disturbance")
	}
	awaitAll(t, s, "long", long, v1alpha1.ConditionEnded)
	awaitAll(t, s, "during", disturbed.asked, v1alpha1.ConditionEnded)
	grants, err := s.Grants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	judge(t, grants, gone, floor)
	if report, err := s.VerifyAudit(t.Context()); err != nil || !strings.Contains(report, fmt.Sprintf("ok: the last record of each of %d grants", long+burst+short+disturbed.asked)) {
		t.Errorf("the audit log: %v\n%s", err, report)
	}
}

// starts returns the names of so many grants, whose Pods run. Those of one group are asked for together, and as long as ttl says.
func starts(t *testing.T, s *stage.Stage, kind string, count, group int, ttl func(int) int) []string {
	t.Helper()
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%03d", kind, i)
	}
	i := 0
	for together := range slices.Chunk(names, group) {
		ask := stage.Ask{Name: kind + "-nnn", Environment: "rehearsal", TTLSeconds: ttl(i), Args: []string{"hold"}}
		if err := s.Requests(t.Context(), stage.Agent, ask, together); err != nil {
			t.Fatal(err)
		}
		i++
	}
	awaitAll(t, s, kind, count, v1alpha1.ConditionDelivered)
	if _, err := s.Kubectl(t.Context(), stage.Admin, "-n", stage.Namespace, "wait", "pods", "-l", v1alpha1.LabelRequest, "--for=jsonpath={.status.phase}=Running", "--timeout=3m"); err != nil {
		t.Fatal(err)
	}
	return names
}

// memory is what the leader says it takes.
func memory(t *testing.T, s *stage.Stage) string {
	t.Helper()
	metrics, err := s.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(metrics) {
		if value, ok := strings.CutPrefix(line, "process_resident_memory_bytes "); ok {
			bytes, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%.0f MiB", bytes/(1<<20))
		}
	}
	t.Fatal("the leader does not say what memory it takes")
	return ""
}

// awaitAll waits until so many grants whose names begin like this have a condition.
func awaitAll(t *testing.T, s *stage.Stage, name string, count int, kind string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	err := s.AwaitGrants(ctx, func(all map[string]*v1alpha1.CapabilityGrant) (bool, error) {
		n := 0
		for _, g := range all {
			if strings.HasPrefix(g.Name, name) && meta.IsStatusConditionTrue(g.Status.Conditions, kind) {
				n++
			}
		}
		return n >= count, nil
	})
	if err != nil {
		t.Fatalf("waiting for %d grants %s-… that are %s: %v", count, name, kind, err)
	}
}

// judge looks at each grant's end.
func judge(t *testing.T, grants []v1alpha1.CapabilityGrant, gone *disappearances, floor *writes) {
	t.Helper()
	late, beside := map[string][]time.Duration{}, map[string][]time.Duration{}
	ends := map[string]time.Duration{}
	for i := range grants {
		g := &grants[i]
		kind, _, _ := strings.Cut(g.Name, "-")
		if want := map[string]v1alpha1.GrantOutcome{"during": v1alpha1.OutcomeCompleted, "long": v1alpha1.OutcomeRevoked, "short": v1alpha1.OutcomeExpired, "burst": v1alpha1.OutcomeExpired}[kind]; g.Status.Outcome != want {
			t.Errorf("%s ended %s, not %s: %+v", g.Name, g.Status.Outcome, want, g.Status.Stop)
		}
		at, found := gone.of(string(g.UID))
		if !found {
			t.Errorf("the Secret of %s was never gone", g.Name)
		}
		if g.Status.Outcome != v1alpha1.OutcomeExpired {
			continue
		}
		by := at.Sub(g.Status.ExpiresAt.Time)
		took := floor.longest(g.Status.ExpiresAt.Time, at)
		if by-took > mostLate {
			t.Errorf("the Secret of %s was gone %s after its time, in which two writes alone took no more than %s", g.Name, by, took)
		}
		late[kind], beside[kind], ends[kind] = append(late[kind], by), append(beside[kind], by-took), max(ends[kind], g.Status.EndedAt.Sub(g.Status.ExpiresAt.Time))
	}
	for kind, all := range late {
		slices.Sort(all)
		slices.Sort(beside[kind])
		fmt.Printf("of %d %s grants that expired, the last Secret was gone %s after its time, half of them within %s (%s and %s beside what two writes took "+
			"meanwhile), and the last grant had ended %s after it\n", len(all), kind, all[len(all)-1].Round(time.Millisecond), all[len(all)/2].Round(time.Millisecond),
			beside[kind][len(all)-1].Round(time.Millisecond), beside[kind][len(all)/2].Round(time.Millisecond), ends[kind])
	}
}

// watchLease says how often nobody held the operator's lease, and for how long at the most.
func watchLease(t *testing.T, s *stage.Stage) func() string {
	t.Helper()
	clients, err := kubernetes.NewForConfig(s.Cluster.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	watching, err := clients.CoordinationV1().Leases("valetkey-system").Watch(t.Context(), metav1.SingleObject(metav1.ObjectMeta{Name: "valetkey"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(watching.Stop)
	var mu sync.Mutex
	var free time.Time
	var gaps []time.Duration
	go func() {
		for e := range watching.ResultChan() {
			lease, ok := e.Object.(*coordinationv1.Lease)
			if !ok {
				continue
			}
			mu.Lock()
			held := lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != ""
			if !held {
				free = time.Now()
			} else if !free.IsZero() {
				gaps, free = append(gaps, time.Since(free)), time.Time{}
			}
			mu.Unlock()
		}
	}()
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		if len(gaps) == 0 {
			return "at no time"
		}
		return fmt.Sprintf("%d times, for %s at the most", len(gaps), slices.Max(gaps).Round(time.Millisecond))
	}
}

// disturbance is what was done to the operator.
type disturbance struct{ rollouts, evictions, asked int }

// goOn rolls out, evicts, and asks for something more each time, until the context ends.
func (d *disturbance) goOn(ctx context.Context, t *testing.T, s *stage.Stage) {
	clients, err := kubernetes.NewForConfig(s.Cluster.AdminConfig())
	if err != nil {
		t.Error(err)
		return
	}
	for ctx.Err() == nil {
		for what, do := range map[*int]func() error{
			&d.rollouts: func() error {
				_, err := s.Kubectl(t.Context(), stage.Admin, "-n", "valetkey-system", "rollout", "restart", "statefulset/valetkey")
				return err
			},
			&d.evictions: func() error {
				leader, err := s.Leader(t.Context())
				if err != nil || leader == "" {
					return err
				}
				return clients.PolicyV1().Evictions("valetkey-system").Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: leader, Namespace: "valetkey-system"}})
			},
		} {
			if err := do(); err != nil {
				t.Errorf("disturbing: %v", err)
				return
			}
			*what++
			d.asked++
			if err := s.Request(t.Context(), stage.Agent, stage.Ask{Name: fmt.Sprintf("during-%d", d.asked), Environment: "rehearsal", TTLSeconds: 300,
				Args: []string{"publish", fmt.Sprintf("previews/web-app/during-%d", d.asked)}}); err != nil {
				t.Errorf("asking meanwhile: %v", err)
				return
			}
			if _, err := s.Kubectl(t.Context(), stage.Admin, "-n", "valetkey-system", "rollout", "status", "statefulset/valetkey", "--timeout=2m"); err != nil {
				t.Errorf("disturbing: %v", err)
				return
			}
		}
	}
}

// writes are how long somebody waited who had the API server store two writes, one after the other, as the end of a grant takes: one in an
// object that there is, and the end of a Secret.
type writes struct {
	mu   sync.Mutex
	took []span
}

type span struct{ from, to time.Time }

// longest is the longest of those that were under way within a time.
func (w *writes) longest(from, to time.Time) (longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.took {
		if s.from.Before(to) && s.to.After(from) {
			longest = max(longest, s.to.Sub(s.from))
		}
	}
	return longest
}

// goOn has two writes stored ten times a second at the most, until the context ends.
func (w *writes) goOn(ctx context.Context, t *testing.T, s *stage.Stage) {
	clients, err := kubernetes.NewForConfig(s.Cluster.AdminConfig())
	if err != nil {
		t.Error(err)
		return
	}
	const name = "two-writes"
	secrets, notes := clients.CoreV1().Secrets(metav1.NamespaceDefault), clients.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	if _, err := notes.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Error(err)
		return
	}
	next := time.NewTicker(100 * time.Millisecond)
	defer next.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		if _, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Error(err)
			return
		}
		began := time.Now()
		_, err := notes.Patch(t.Context(), name, types.MergePatchType, fmt.Appendf(nil, `{"data":{"n":"%d"}}`, i), metav1.PatchOptions{})
		if err := errors.Join(err, secrets.Delete(t.Context(), name, metav1.DeleteOptions{})); err != nil {
			t.Error(err)
			return
		}
		w.mu.Lock()
		w.took = append(w.took, span{began, time.Now()})
		w.mu.Unlock()
		<-next.C
	}
}

// disappearances are when Secrets of grants were gone, by the names of the Secrets.
type disappearances struct {
	mu sync.Mutex
	at map[string]time.Time
}

// of is when the last Secret of a grant was gone.
func (d *disappearances) of(uid string) (at time.Time, found bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, when := range d.at {
		if strings.HasPrefix(name, v1alpha1.NamePrefix+uid) && when.After(at) {
			at, found = when, true
		}
	}
	return at, found
}

// watchSecrets watches the names of Secrets, and nothing that is in them.
func watchSecrets(t *testing.T, s *stage.Stage) *disappearances {
	t.Helper()
	client, err := metadata.NewForConfig(s.Cluster.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	watching, err := client.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(stage.Namespace).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(watching.Stop)
	d := &disappearances{at: map[string]time.Time{}}
	go func() {
		for e := range watching.ResultChan() {
			if o, ok := e.Object.(*metav1.PartialObjectMetadata); ok && e.Type == apiwatch.Deleted {
				d.mu.Lock()
				d.at[o.Name] = time.Now()
				d.mu.Unlock()
			}
		}
	}()
	return d
}
