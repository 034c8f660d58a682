// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/projection"
)

// tally counts, from what the API server and STS say, what a crash must not cost. It believes nothing that the operator says.
type tally struct {
	w         *world
	namespace string
	// logs are the folders of the operators' audit logs.
	logs []string

	mu              sync.Mutex
	kills, restarts int
	// minted are the sessions that STS answered with a credential, and whether an audit log named them before.
	minted map[string]bool
	// started are the Secrets that each Job was started with, and pods its Pods.
	started map[types.UID]map[string]bool
	pods    map[types.UID]map[types.UID]bool
	// delivered are the sessions whose credential a Job was started with.
	delivered map[string]bool
	// outlived are Pods that ran when their grant was said to have ended.
	outlived []string
	// ended are the grants as they ended, with what they remember of the audit log.
	ended map[types.UID]v1alpha1.CapabilityGrant
	stuck []string
}

// newTally watches a namespace. A Pod there ends well as soon as it runs, unless its name begins with valetkey-hold.
func newTally(t *testing.T, w *world, namespace string) *tally {
	t.Helper()
	c := &tally{w: w, namespace: namespace, minted: map[string]bool{}, started: map[types.UID]map[string]bool{}, pods: map[types.UID]map[types.UID]bool{}, delivered: map[string]bool{},
		ended: map[types.UID]v1alpha1.CapabilityGrant{}}
	c.watch(t)
	return c
}

// watch begins to watch; once more after an outage, for a watch that was lost is slow to come back.
func (c *tally) watch(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	for object, see := range map[client.Object]func(any){&batchv1.Job{}: c.seeJob, &corev1.Pod{}: c.seePod(ctx), &v1alpha1.CapabilityGrant{}: c.seeGrant(ctx)} {
		source, err := c.w.source(object, c.namespace, nil, v1alpha1.LabelRequest)
		if err != nil {
			t.Fatal(err)
		}
		// What failed while the API server was away is tried again.
		_, informer := cache.NewInformerWithOptions(cache.InformerOptions{ListerWatcher: source, ObjectType: object, ResyncPeriod: time.Second,
			Handler: cache.ResourceEventHandlerFuncs{AddFunc: see, UpdateFunc: func(_, o any) { see(o) }}})
		go informer.RunWithContext(ctx)
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			t.Fatal(ctx.Err())
		}
	}
}

func (c *tally) seeJob(object any) {
	job := object.(*batchv1.Job)
	if _, secret, started := projection.Started(job); started {
		c.mu.Lock()
		defer c.mu.Unlock()
		note(c.started, job.UID, secret)
	}
}

func note[K, V comparable](sets map[K]map[V]bool, key K, value V) {
	if sets[key] == nil {
		sets[key] = map[V]bool{}
	}
	sets[key][value] = true
}

func (c *tally) seePod(ctx context.Context) func(any) {
	return func(object any) {
		pod := object.(*corev1.Pod)
		if owner := metav1.GetControllerOf(pod); owner != nil {
			c.mu.Lock()
			note(c.pods, owner.UID, pod.UID)
			c.mu.Unlock()
		}
		if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil && !strings.HasPrefix(pod.Name, v1alpha1.NamePrefix+"hold") {
			if err := c.w.report(ctx, pod, corev1.PodSucceeded, ""); client.IgnoreNotFound(err) != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "the played node:", err)
			}
		}
	}
}

func (c *tally) seeGrant(ctx context.Context) func(any) {
	return func(object any) {
		g := object.(*v1alpha1.CapabilityGrant)
		c.mu.Lock()
		_, seen := c.ended[g.UID]
		c.mu.Unlock()
		if g.Status.EndedAt == nil || seen {
			return
		}
		pods := &corev1.PodList{}
		if err := c.w.admin.List(ctx, pods, client.InNamespace(c.namespace), client.MatchingLabels{v1alpha1.LabelRequest: g.Name}); err != nil {
			fmt.Fprintln(os.Stderr, "looking for Pods that outlive their grant:", err)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended[g.UID] = *g
		for _, pod := range pods.Items {
			if pod.Annotations[v1alpha1.AnnotationGrant] == string(g.UID) && pod.Status.Phase == corev1.PodRunning {
				c.outlived = append(c.outlived, pod.Name)
			}
		}
	}
}

// mints looks at what is asked of STS: the session must be in an audit log by now.
func (c *tally) mints(session string) func(status int) {
	announced := c.inLogs(`"session":"` + session + `"`)
	return func(status int) {
		if status != 200 {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.minted[session] = announced
	}
}

func (c *tally) inLogs(words string) bool {
	for _, text := range c.readLogs() {
		if bytes.Contains(text, []byte(words)) {
			return true
		}
	}
	return false
}

func (c *tally) readLogs() [][]byte {
	var texts [][]byte
	for _, dir := range c.logs {
		files, _ := filepath.Glob(filepath.Join(dir, "*.log")) // the pattern is sound
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil {
				texts = append(texts, text)
			}
		}
	}
	return texts
}

func (c *tally) count(kills, restarts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kills, c.restarts = c.kills+kills, c.restarts+restarts
}

func (c *tally) hangs(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stuck = append(c.stuck, name)
}

// settle counts up, prints the table, and fails the test for everything that should be none. No operator may run any more.
func (c *tally) settle(t *testing.T) {
	t.Helper()
	secrets := &corev1.SecretList{}
	if err := c.w.admin.List(t.Context(), secrets, client.InNamespace(c.namespace), client.HasLabels{v1alpha1.LabelRequest}); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	twice, unannounced := 0, 0
	for job, names := range c.started {
		if len(names) > 1 || len(c.pods[job]) > 1 {
			twice++
		}
		for name := range names {
			c.delivered[name] = true
		}
	}
	for _, announced := range c.minted {
		if !announced {
			unannounced++
		}
	}
	gaps, words := 0, ""
	if out, err := c.verify(t); err != nil {
		gaps, words = 1, out
	}
	fmt.Printf(`
kills                                   %d
restarts                                %d
grants ended                            %d
sessions minted                         %d
  of them orphaned, which nobody holds  %d
  of them not in the audit log before   %d
Jobs started                            %d
delivered twice                         %d
Secrets left                            %d
Pods outliving their grant              %d
grants stuck                            %d
audit gaps                              %d
`, c.kills, c.restarts, len(c.ended), len(c.minted), len(c.minted)-len(c.delivered), unannounced, len(c.started), twice, len(secrets.Items), len(c.outlived), len(c.stuck), gaps)
	if twice+unannounced+len(secrets.Items)+len(c.outlived)+len(c.stuck)+gaps > 0 {
		t.Errorf("outlived %v, stuck %v\n%s", c.outlived, c.stuck, words)
	}
	if len(c.minted) < len(c.delivered) || len(c.ended) == 0 {
		t.Errorf("%d minted, %d delivered, %d ended: the count is wrong", len(c.minted), len(c.delivered), len(c.ended))
	}
}

// verify has the operator's own program verify all logs, against what the ended grants remember.
func (c *tally) verify(t *testing.T) (string, error) {
	t.Helper()
	list := v1alpha1.CapabilityGrantList{TypeMeta: metav1.TypeMeta{Kind: "CapabilityGrantList", APIVersion: v1alpha1.GroupVersion.String()}}
	for _, g := range c.ended {
		g.TypeMeta = metav1.TypeMeta{Kind: "CapabilityGrant", APIVersion: v1alpha1.GroupVersion.String()}
		list.Items = append(list.Items, g)
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), c.w.manager, append([]string{"verify-audit", "--grants", "-"}, c.logs...)...)
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
