// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package sample

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const page = `# HELP apiserver_request_total Counter of requests.
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="valetkey.dev",resource="capabilitygrants",scope="resource",subresource="status",verb="PUT",version="v1alpha1"} 3
apiserver_request_total{code="201",component="apiserver",dry_run="All",group="",resource="pods",scope="resource",subresource="",verb="POST",version="v1"} 1
apiserver_request_total{code="404",component="apiserver",dry_run="",group="",resource="secrets",scope="resource",subresource="",verb="DELETE",version="v1"} 2
apiserver_request_total_of_others{code="404"} 7
go_goroutines 12
`

func TestRead_TakesTheWantedSeriesAlone(t *testing.T) {
	found, err := read([]byte(page), requests)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range found {
		got[call(f.labels)] = f.value
	}
	want := map[string]float64{"PUT capabilitygrants/status": 3, "POST dry-run pods": 1, "DELETE 404 secrets": 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSince_DividesByTheUnits(t *testing.T) {
	before := Sample{calls: map[string]float64{"POST secrets": 5, "LIST pods": 1}, cpu: map[string]float64{Operator: 1}}
	after := Sample{calls: map[string]float64{"POST secrets": 15, "LIST pods": 1}, cpu: map[string]float64{Operator: 3, "etcd": 9}, peak: 4,
		mib: map[string]float64{Operator: 7}}
	u := after.Since(before, 10)
	if diff := cmp.Diff(map[string]float64{"POST secrets": 1}, u.Calls); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]float64{Operator: 2}, u.CPU); diff != "" {
		t.Error(diff)
	}
	if u.PeakMiB != 7 {
		t.Errorf("the peak is %v MiB; at the end there were 7", u.PeakMiB)
	}
}

func TestSince_CountsAllOfANewOperator(t *testing.T) {
	before := Sample{operatorID: 1, cpu: map[string]float64{Operator: 9, "etcd": 2}, own: map[string]float64{"GET": 50}}
	after := Sample{operatorID: 2, cpu: map[string]float64{Operator: 3, "etcd": 4}, own: map[string]float64{"GET": 10}}
	u := after.Since(before, 1)
	if diff := cmp.Diff(map[string]float64{Operator: 3, "etcd": 2}, u.CPU); diff != "" || u.Own["GET"] != 10 {
		t.Errorf("%v calls\n%s", u.Own, diff)
	}
}

func TestProcess_TellsOfThisOne(t *testing.T) {
	used, err := CPU(os.Getpid())
	if err != nil || used < 0 {
		t.Errorf("%v seconds, %v", used, err)
	}
	memory, err := Resident(os.Getpid())
	if err != nil || memory < 1 {
		t.Errorf("%v MiB, %v", memory, err)
	}
	if all, err := busy(); err != nil || all <= 0 {
		t.Errorf("the machine was busy for %v seconds, %v", all, err)
	}
}
