// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// fill gives every field below v a value, so that each can be changed.
func fill(v reflect.Value) {
	switch special := v.Addr().Interface().(type) {
	case *resource.Quantity:
		*special = resource.MustParse("2")
		return
	case *metav1.Time:
		*special = metav1.NewTime(noon())
		return
	case *intstr.IntOrString:
		*special = intstr.FromInt32(7)
		return
	case *[]metav1.ManagedFieldsEntry:
		return // The API server drops it from templates.
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("filled")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8:
		v.SetUint(7)
	default:
		panic("fill " + v.Type().String())
	}
}

// change calls try with every change of one thing below v, and takes each back.
func change(path string, v reflect.Value, try func(path string)) {
	set := func(to reflect.Value) {
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		v.Set(to)
		try(path)
		v.Set(old)
	}
	switch special := v.Interface().(type) {
	case resource.Quantity:
		set(reflect.ValueOf(resource.MustParse("3")))
		return
	case metav1.Time:
		set(reflect.ValueOf(metav1.NewTime(special.Add(time.Second))))
		return
	case intstr.IntOrString:
		set(reflect.ValueOf(intstr.FromInt32(8)))
		set(reflect.ValueOf(intstr.FromString("7")))
		return
	case []metav1.ManagedFieldsEntry:
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			change(path+"."+v.Type().Field(i).Name, v.Field(i), try)
		}
	case reflect.Pointer:
		set(reflect.Zero(v.Type()))
		change(path, v.Elem(), try)
	case reflect.Slice:
		set(reflect.Zero(v.Type()))
		set(reflect.AppendSlice(v.Slice3(0, v.Len(), v.Len()), v.Slice(0, 1)))
		change(path+"[0]", v.Index(0), try)
	case reflect.Map:
		changeMap(path, v, set, try)
	case reflect.String:
		set(reflect.ValueOf(v.String() + "x").Convert(v.Type()))
	case reflect.Bool:
		set(reflect.ValueOf(!v.Bool()).Convert(v.Type()))
	case reflect.Int32, reflect.Int64:
		set(reflect.ValueOf(v.Int() + 1).Convert(v.Type()))
	case reflect.Uint8:
		set(reflect.ValueOf(v.Uint() + 1).Convert(v.Type()))
	}
}

func changeMap(path string, v reflect.Value, set func(reflect.Value), try func(path string)) {
	set(reflect.Zero(v.Type()))
	key := v.MapKeys()[0]
	renamed := reflect.MakeMap(v.Type())
	renamed.SetMapIndex(reflect.ValueOf(key.String()+"x").Convert(key.Type()), v.MapIndex(key))
	set(renamed)
	value := reflect.New(v.Type().Elem()).Elem()
	value.Set(v.MapIndex(key))
	change(path+"["+key.String()+"]", value, func(path string) {
		old := v.MapIndex(key)
		v.SetMapIndex(key, value)
		try(path)
		v.SetMapIndex(key, old)
	})
}

// everything is a review in which no field is empty.
func everything() ReviewInput {
	in := ReviewInput{
		Request: newRequest(), Job: newJob(), Capability: newCapability(), Provider: &v1alpha1.CapabilityProvider{},
		Scope: []string{"Allow s3:PutObject on arn:aws:s3:::previews/web-app/*"}, Principal: "arn:aws:iam::123456789012:role/preview-deployer",
		ConfigMaps: map[string]*corev1.ConfigMap{"filled": {
			ObjectMeta: metav1.ObjectMeta{UID: "configmap-uid", ResourceVersion: "7"}, Data: map[string]string{"a": "b"}, BinaryData: map[string][]byte{"c": {1}},
		}},
		Now: noon(),
	}
	fill(reflect.ValueOf(&in.Request.Spec).Elem())
	fill(reflect.ValueOf(&in.Job.Spec).Elem())
	pod := &in.Job.Spec.Template.Spec // The volume that fill made has every source at once.
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "settings", VolumeSource: configMapVolume("filled")})
	fill(reflect.ValueOf(&in.Capability.Spec).Elem())
	fill(reflect.ValueOf(&in.Provider.Spec).Elem())
	return in
}

// startPatch is what may change between the review and the start: the paths below Job.Spec.
func startPatch(path string) bool {
	return slices.Contains([]string{".Suspend", ".ActiveDeadlineSeconds"}, path)
}

func TestAnyChangeOfWhatIsReviewedChangesTheDigest(t *testing.T) {
	in := everything()
	before := Digest(in)
	if len(before) != 64 || before != Digest(everything()) {
		t.Fatalf("the digest %q is not stable", before)
	}
	seen := map[string]string{}
	tried := 0
	for _, part := range []struct {
		name string
		of   any
	}{
		{"Request.Spec", &in.Request.Spec}, {"Request.UID", &in.Request.UID}, {"Request.Name", &in.Request.Name},
		{"Request.Namespace", &in.Request.Namespace},
		{"Job.Spec", &in.Job.Spec}, {"Job.UID", &in.Job.UID}, {"Job.Name", &in.Job.Name},
		{"Capability.Spec", &in.Capability.Spec}, {"Capability.Name", &in.Capability.Name},
		{"Provider.Spec", &in.Provider.Spec}, {"Provider.Name", &in.Provider.Name},
		{"Scope", &in.Scope}, {"Principal", &in.Principal},
		{"ConfigMap.UID", &in.ConfigMaps["filled"].UID}, {"ConfigMap.ResourceVersion", &in.ConfigMaps["filled"].ResourceVersion},
		{"ConfigMap.Data", &in.ConfigMaps["filled"].Data}, {"ConfigMap.BinaryData", &in.ConfigMaps["filled"].BinaryData},
	} {
		change("", reflect.ValueOf(part.of).Elem(), func(path string) {
			tried++
			after := Digest(in)
			excepted := part.name == "Job.Spec" && startPatch(path)
			if (after == before) != excepted {
				t.Errorf("%s%s: the digest changes: %v", part.name, path, after != before)
			}
			if after == "" {
				t.Errorf("%s%s: there is no digest", part.name, path)
			}
			if other, again := seen[after]; again && !excepted {
				t.Errorf("%s%s: the digest is that of a change of %s", part.name, path, other)
			}
			seen[after] = part.name + path
		})
	}
	if after := Digest(in); after != before {
		t.Error("the test did not take back its changes")
	}
	if tried < 1500 {
		t.Errorf("only %d changes were tried", tried)
	}
}

// TestDigest_HasTheLabelsThatPoliciesDecideBy, and not Valetkey's own.
func TestDigest_HasTheLabelsThatPoliciesDecideBy(t *testing.T) {
	seen := map[string]string{}
	for name, labels := range map[string]map[string]string{
		"none": nil, "one": {"team": "web"}, "another value": {"team": "app"}, "another name": {"teams": "web"}, "two": {"team": "web", "change": "docs"},
	} {
		in := everything()
		in.Job.Labels = labels
		digest := Digest(in)
		if other, again := seen[digest]; again {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[digest] = name
		in.Job.Labels = map[string]string{v1alpha1.LabelRequest: "q"}
		maps.Copy(in.Job.Labels, labels)
		if Digest(in) != digest {
			t.Errorf("%s: the label of the request changes the digest", name)
		}
	}
}

func TestWhatTheOperatorAndTheAPIServerWriteDoesNotChangeTheDigest(t *testing.T) {
	for _, tt := range []struct {
		name  string
		given func(in *ReviewInput)
	}{
		{"the Job is started", func(in *ReviewInput) {
			in.Job.Spec.Suspend, in.Job.Spec.ActiveDeadlineSeconds = ptr.To(false), ptr.To[int64](900)
			in.Job.Spec.Template.Annotations = map[string]string{}
			for _, name := range v1alpha1.StartAnnotations() {
				in.Job.Spec.Template.Annotations[name] = "x"
			}
		}},
		{"the template gets the Job's own labels", func(in *ReviewInput) {
			in.Job.Spec.Template.Labels = map[string]string{
				"controller-uid": "u", "job-name": "n", "batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "n",
			}
		}},
		{"a person decides", func(in *ReviewInput) { in.Request.Decisions = []v1alpha1.Decision{{By: "alice"}} }},
		{"statuses are written", func(in *ReviewInput) {
			in.Request.Status.GrantName, in.Job.Status.Active, in.Provider.Status.Type = "g", 1, "aws-sts"
			in.Capability.Status.Conditions = []metav1.Condition{{Type: "Ready"}}
		}},
		{"resource versions go up", func(in *ReviewInput) {
			in.Request.ResourceVersion, in.Job.ResourceVersion, in.Job.Generation = "2", "2", 2
		}},
		{"time passes", func(in *ReviewInput) { in.Now = in.Now.Add(time.Hour) }},
		{"a ConfigMap that no Pod of it uses is there", func(in *ReviewInput) {
			in.ConfigMaps["other"] = &corev1.ConfigMap{Data: map[string]string{"a": "b"}}
		}},
		{"an immutable ConfigMap gets a label", func(in *ReviewInput) { in.ConfigMaps["settings"].ResourceVersion = "8" }},
		{"the ConfigMap is gone, of which the grant has a copy", func(in *ReviewInput) {
			in.Copied, in.ConfigMaps = []v1alpha1.ReviewedInput{reviewInput("settings", in.ConfigMaps["settings"])}, nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, provider := reviewOf(newJob()), &v1alpha1.CapabilityProvider{}
			in.Provider = provider
			in.Job.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: configMapVolume("settings")}}
			in.ConfigMaps = map[string]*corev1.ConfigMap{"settings": {Immutable: ptr.To(true), Data: map[string]string{"a": "b"},
				ObjectMeta: metav1.ObjectMeta{UID: "configmap-uid", ResourceVersion: "7"}}}
			before := Digest(in)
			tt.given(&in)
			if Digest(in) != before {
				t.Error("the digest changed")
			}
		})
	}
}

func TestAnAnnotationBesideTheOperatorsChangesTheDigest(t *testing.T) {
	for _, key := range []string{"valetkey.dev/other", "valetkey.dev/grants", "example.com/grant"} {
		in := reviewOf(newJob())
		before := Digest(in)
		in.Job.Spec.Template.Annotations = map[string]string{key: "x"}
		if Digest(in) == before {
			t.Errorf("%s does not change the digest", key)
		}
	}
}

func TestDigest_TellsEveryStateOfAConfigMapFromEveryOther(t *testing.T) {
	job := newJob()
	job.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: configMapVolume("settings")}}
	meta := func(uid types.UID, version string) metav1.ObjectMeta {
		return metav1.ObjectMeta{UID: uid, ResourceVersion: version}
	}
	digests := map[string]string{}
	for name, c := range map[string]*corev1.ConfigMap{
		"absent":                      nil,
		"mutable":                     {ObjectMeta: meta("1", "1"), Data: map[string]string{"a": "b"}},
		"changed and changed back":    {ObjectMeta: meta("1", "3"), Data: map[string]string{"a": "b"}},
		"made again":                  {ObjectMeta: meta("2", "1"), Data: map[string]string{"a": "b"}},
		"with another content":        {ObjectMeta: meta("1", "1"), Data: map[string]string{"a": "c"}},
		"immutable":                   {ObjectMeta: meta("1", "1"), Data: map[string]string{"a": "b"}, Immutable: ptr.To(true)},
		"immutable, and made again":   {ObjectMeta: meta("2", "1"), Data: map[string]string{"a": "b"}, Immutable: ptr.To(true)},
		"immutable, in binary":        {ObjectMeta: meta("1", "1"), BinaryData: map[string][]byte{"a": []byte("b")}, Immutable: ptr.To(true)},
		"immutable, and with nothing": {ObjectMeta: meta("1", "1"), Immutable: ptr.To(true)},
	} {
		in := reviewOf(job)
		in.ConfigMaps = map[string]*corev1.ConfigMap{"settings": c}
		digest := Digest(in)
		for other, known := range digests {
			if known == digest {
				t.Errorf("%s has the digest of %s", name, other)
			}
		}
		digests[name] = digest
	}
	in := reviewOf(job)
	in.ConfigMaps = map[string]*corev1.ConfigMap{"settings": {ObjectMeta: meta("1", "9"), Immutable: ptr.To(true), Data: map[string]string{}, BinaryData: map[string][]byte{}}}
	if Digest(in) != digests["immutable, and with nothing"] {
		t.Error("two ways to say nothing have two digests")
	}
}

// TestTheEncodingStays guards every digest that is stored: if this fails, digestVersion must change too.
func TestTheEncodingStays(t *testing.T) {
	if got := Digest(reviewOf(goldenJob())); got != goldenDigest {
		t.Errorf("the digest is %s, not %s", got, goldenDigest)
	}
}

const goldenDigest = "8269e48e5cd7b3ba10191b040565503d05b9c9b41870169597b53d40d500f680"

// goldenJob is the one of which earlier releases had these digests. It has no label but Valetkey's own: theirs had no others.
func goldenJob() *batchv1.Job {
	job := newJob()
	delete(job.Labels, "team")
	job.Spec.Template.Spec.Containers[0].ImagePullPolicy = ""
	return job
}

// TestDigest_OfAJobWithoutConfigMapsIsThatOfEarlierReleases holds that grants which live through an upgrade are not ended by it.
func TestDigest_OfAJobWithoutConfigMapsIsThatOfEarlierReleases(t *testing.T) {
	job := goldenJob()
	job.Spec.PodReplacementPolicy, job.Spec.Template.Spec.EnableServiceLinks, job.Spec.Template.Spec.AutomountServiceAccountToken = nil, nil, nil
	in := reviewOf(job)
	in.Copied = []v1alpha1.ReviewedInput{}
	const since010 = "b56575d8a7fc17196ad791d0ce6704b7c4c01f1e9a6fe26a409ab302462e5065"
	if got := Digest(in); got != since010 {
		t.Errorf("the digest is %s, not %s", got, since010)
	}
}

func configMapVolume(name string) corev1.VolumeSource {
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}
}

func reviewOf(job *batchv1.Job) ReviewInput {
	return ReviewInput{
		Request: newRequest(), Job: job, Capability: newCapability(),
		Provider: &v1alpha1.CapabilityProvider{
			ObjectMeta: metav1.ObjectMeta{Name: "aws-preview"},
			Spec:       v1alpha1.CapabilityProviderSpec{AWS: &v1alpha1.AWSProvider{Region: "us-east-1"}},
		},
		Scope: []string{"s3:PutObject on arn:aws:s3:::previews/web-app/*"}, Principal: "arn:aws:iam::123456789012:role/preview-deployer",
		Now: noon(),
	}
}
