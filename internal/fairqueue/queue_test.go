// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package fairqueue_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/valetkey/valetkey/internal/fairqueue"
)

func item(name string) reconcile.Request {
	namespace, _, _ := strings.Cut(name, "/")
	return reconcile.Request{
		NamespacedName: types.NamespacedName{Namespace: namespace, Name: strings.TrimPrefix(name, namespace+"/")},
	}
}

// inBubble runs a test with a queue whose clock is the bubble's own.
func inBubble(t *testing.T, workers int, test func(t *testing.T, q *fairqueue.Queue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Second, time.Minute)
		q := fairqueue.New("", limiter, workers, clock.RealClock{})
		defer q.ShutDown()
		test(t, q)
	})
}

// takes takes what is there, at most so many, and returns the names.
func takes(q *fairqueue.Queue, most int) string {
	var names []string
	for q.Len() > 0 && len(names) < most {
		got, _ := q.Get()
		names = append(names, got.String())
	}
	return strings.Join(names, " ")
}

// serves has one worker take and finish what is there.
func serves(q *fairqueue.Queue) string {
	var names []string
	for q.Len() > 0 {
		got, _ := q.Get()
		names = append(names, got.String())
		q.Done(got)
	}
	return strings.Join(names, " ")
}

func add(q *fairqueue.Queue, priority int, names ...string) {
	for _, name := range names {
		q.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, item(name))
	}
}

func TestQueue_NamespacesAreServedInTurn(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, q *fairqueue.Queue) {
		add(q, 0, "busy/1", "busy/2", "busy/3", "busy/4", "quiet/1", "quiet/2", "third/1")
		if got := serves(q); got != "busy/1 quiet/1 third/1 busy/2 quiet/2 busy/3 busy/4" {
			t.Errorf("it serves %s", got)
		}
	})
}

func TestQueue_ANamespaceLeavesWorkersToOthers(t *testing.T) {
	inBubble(t, 8, func(t *testing.T, q *fairqueue.Queue) {
		for i := range 100 {
			add(q, 0, fmt.Sprintf("busy/%d", i))
		}
		if got := takes(q, 8); got != "busy/0 busy/1 busy/2 busy/3" {
			t.Errorf("alone it holds %s", got)
		}
		add(q, 0, "quiet/1", "quiet/2", "quiet/3")
		if got := takes(q, 8); got != "quiet/1 quiet/2" {
			t.Errorf("another one gets %s", got)
		}
		q.Done(item("busy/0"))
		if got := takes(q, 8); got != "quiet/3" {
			t.Errorf("when a worker is free again, it serves %s", got)
		}
		for _, done := range []string{"quiet/1", "quiet/2", "quiet/3"} {
			q.Done(item(done))
		}
		if got := takes(q, 8); got != "busy/4" {
			t.Errorf("alone again, it goes on with %s", got)
		}
	})
}

func TestQueue_PrioritiesComeFirst(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, q *fairqueue.Queue) {
		add(q, -100, "busy/later", "quiet/later", "busy/raised")
		add(q, 0, "busy/1", "busy/2", "busy/raised")
		add(q, -100, "busy/1")
		if got := serves(q); got != "busy/1 busy/2 busy/raised busy/later quiet/later" {
			t.Errorf("it serves %s", got)
		}
		add(q, -100, "busy/1")
		got, priority, _ := q.GetWithPriority()
		if priority != -100 {
			t.Errorf("%v comes with priority %d", got, priority)
		}
		add(q, -7, "busy/1")
		q.Done(got)
		if got, priority, _ = q.GetWithPriority(); priority != -7 {
			t.Errorf("%v, which was added while it was worked on, comes with priority %d", got, priority)
		}
		q.Done(got)
	})
}

func TestQueue_DelaysAndRetries(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, q *fairqueue.Queue) {
		low := -100
		q.AddWithOpts(priorityqueue.AddOpts{After: time.Minute, Priority: &low}, item("a/later"))
		q.AddAfter(item("a/soon"), time.Second)
		q.AddAfter(item("a/soon"), time.Hour)
		q.Add(item("a/later"))
		if got, priority, _ := q.GetWithPriority(); got != item("a/later") || priority != 0 {
			t.Errorf("at once comes %v with priority %d", got, priority)
		}
		q.Done(item("a/later"))
		if q.Len() != 0 {
			t.Error("something comes before its time")
		}
		began := time.Now()
		got, priority, _ := q.GetWithPriority()
		if got != item("a/soon") || time.Since(began) != time.Second {
			t.Errorf("%v comes with priority %d after %s", got, priority, time.Since(began))
		}
		q.Done(got)
		if got, priority, _ = q.GetWithPriority(); got != item("a/later") || priority != -100 ||
			time.Since(began) != time.Minute {
			t.Errorf("%v comes with priority %d after %s", got, priority, time.Since(began))
		}
		q.Done(got)
		for _, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			began = time.Now()
			q.AddRateLimited(item("a/fails"))
			got, _ = q.Get()
			if time.Since(began) != want {
				t.Errorf("it is tried again after %s; want %s", time.Since(began), want)
			}
			q.Done(got)
		}
		if q.NumRequeues(item("a/fails")) != 3 {
			t.Errorf("it failed %d times", q.NumRequeues(item("a/fails")))
		}
		q.Forget(item("a/fails"))
		if q.NumRequeues(item("a/fails")) != 0 {
			t.Error("its failures are not forgotten")
		}
	})
}

func TestQueue_WhatIsWorkedOnIsNotHandedOutTwice(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, q *fairqueue.Queue) {
		add(q, 0, "a/1", "a/1")
		got, _ := q.Get()
		add(q, 0, "a/1", "a/1")
		if q.Len() != 0 {
			t.Error("it is handed out while it is worked on")
		}
		q.Done(got)
		if got := serves(q); got != "a/1" {
			t.Errorf("afterwards comes %q", got)
		}
	})
}

func TestQueue_ShutDownHandsOutNothingMore(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, q *fairqueue.Queue) {
		ended := make(chan bool)
		go func() {
			_, shutdown := q.Get()
			ended <- shutdown
		}()
		synctest.Wait()
		q.ShutDown()
		if !<-ended {
			t.Error("whoever waited got an item")
		}
	})
	inBubble(t, 2, func(t *testing.T, q *fairqueue.Queue) {
		add(q, 0, "a/1")
		q.ShutDown()
		add(q, 0, "a/2")
		if got, shutdown := q.Get(); !shutdown || !q.ShuttingDown() {
			t.Errorf("it hands out %v", got)
		}
	})
}

// TestQueue_ABusyNamespaceDelaysNobody has one namespace keep the queue full, and measures how long others wait by
// the clock of the bubble.
func TestQueue_ABusyNamespaceDelaysNobody(t *testing.T) {
	const workers, work, flood = 8, 100 * time.Millisecond, 5000
	waits := func(t *testing.T, busy int) (longest time.Duration) {
		inBubble(t, workers, func(t *testing.T, q *fairqueue.Queue) {
			random := rand.New(rand.NewPCG(1, 0))
			var mu sync.Mutex
			added, group := map[reconcile.Request]time.Time{}, sync.WaitGroup{}
			for range workers {
				group.Go(func() {
					for {
						got, shutdown := q.Get()
						if shutdown {
							return
						}
						mu.Lock()
						if since, watched := added[got]; watched {
							longest = max(longest, time.Since(since))
						}
						mu.Unlock()
						time.Sleep(work)
						q.Done(got)
					}
				})
			}
			for i := range busy {
				add(q, 0, fmt.Sprintf("busy-%d/%d", i%3, i))
			}
			for i := range 50 {
				time.Sleep(work + time.Duration(random.IntN(400))*time.Millisecond)
				name := fmt.Sprintf("quiet/%d", i)
				mu.Lock()
				added[item(name)] = time.Now()
				mu.Unlock()
				add(q, 0, name)
			}
			time.Sleep(time.Second)
			q.ShutDown()
			group.Wait()
		})
		return longest
	}
	alone, beside := waits(t, 0), waits(t, flood)
	t.Logf("the longest wait of 50 items: %s alone, %s beside %d items of three other namespaces", alone, beside, flood)
	if beside > alone {
		t.Errorf("it waits %s beside others; alone %s", beside, alone)
	}
}

// TestQueue_WhatCanWaitLeavesWorkers: of many that can wait, as long as they take, few are worked on.
func TestQueue_WhatCanWaitLeavesWorkers(t *testing.T) {
	inBubble(t, 16, func(t *testing.T, q *fairqueue.Queue) {
		for i := range 10 {
			add(q, -1, fmt.Sprint("a/", i), fmt.Sprint("b/", i), fmt.Sprint("c/", i), fmt.Sprint("d/", i), fmt.Sprint("e/", i))
		}
		if got := takes(q, 100); got != "a/0 b/0 c/0 d/0 e/0 a/1 b/1 c/1" {
			t.Errorf("of what can wait it hands out %s", got)
		}
		add(q, 0, "a/now", "a/now-too")
		if got := takes(q, 100); got != "a/now a/now-too" {
			t.Errorf("of what cannot wait it hands out %s", got)
		}
		q.Done(item("a/0"))
		if got := takes(q, 100); got != "d/1" {
			t.Errorf("once one is done it hands out %s", got)
		}
	})
}

// TestQueue_EachPriorityHasATimeOfItsOwn: what comes back soon, and waits, is raised when its own time comes.
func TestQueue_EachPriorityHasATimeOfItsOwn(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, q *fairqueue.Queue) {
		high, low := 1, -1
		q.AddWithOpts(priorityqueue.AddOpts{After: time.Minute, Priority: &high}, item("a/x"))
		q.AddWithOpts(priorityqueue.AddOpts{After: time.Second, Priority: &low}, item("a/x"))
		time.Sleep(time.Second)
		synctest.Wait()
		if got, priority, _ := q.GetWithPriority(); got != item("a/x") || priority != low {
			t.Errorf("after a second it hands out %s with priority %d", got, priority)
		}
		q.Done(item("a/x"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if got, priority, _ := q.GetWithPriority(); got != item("a/x") || priority != high {
			t.Errorf("after a minute it hands out %s with priority %d", got, priority)
		}
	})
}

// TestQueue_WhatIsRaisedWakesAWorker: client-go's queue wakes none for an item that waits already.
func TestQueue_WhatIsRaisedWakesAWorker(t *testing.T) {
	for name, raise := range map[string]func(*fairqueue.Queue){
		"now":           func(q *fairqueue.Queue) { add(q, 1, "a/3") },
		"when its time": func(*fairqueue.Queue) { time.Sleep(time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 16, func(t *testing.T, q *fairqueue.Queue) {
				high := 1
				q.AddWithOpts(priorityqueue.AddOpts{After: time.Minute, Priority: &high}, item("a/3"))
				add(q, -1, "a/1", "a/2", "a/3")
				if got := takes(q, 100); got != "a/1 a/2" {
					t.Errorf("it hands out %s", got)
				}
				taken := make(chan string)
				go func() {
					got, _ := q.Get()
					taken <- got.String()
				}()
				synctest.Wait()
				raise(q)
				synctest.Wait()
				select {
				case got := <-taken:
					if got != "a/3" {
						t.Errorf("it hands out %s", got)
					}
				default:
					t.Error("nobody was woken")
					q.ShutDown()
					<-taken
				}
			})
		})
	}
}
