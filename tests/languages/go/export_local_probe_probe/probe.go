// Package export_local_probe_probe is the conformance project in Go. `wit/probe.wit` says what each function is for.
package export_local_probe_probe

import (
	"os"

	. "wit_component/local_probe_probe"
	config "wit_component/wasi_config_store"
	outgoing "wit_component/wasi_http_outgoing_handler"
	http "wit_component/wasi_http_types"
	"wit_component/wasi_io_streams"
	keyvalue "wit_component/wasi_keyvalue_store"

	. "go.bytecodealliance.org/pkg/wit/types"
)

var count uint32

// Where the optimizer can't see that nothing reads it.
var hoard [][]byte

func Add(a int32, b int32) int32 {
	return a + b
}

func Echo(item Item) Result[Item, Problem] {
	if item.Name == "" {
		return Err[Item, Problem](MakeProblemInvalidInput("`name` is empty"))
	}
	return Ok[Item, Problem](item)
}

func Counter() uint32 {
	count++
	return count
}

func Crash() {
	panic("a crash on purpose")
}

func Spin() {
	for {
	}
}

func Hoard(mebibytes uint32) uint32 {
	for range mebibytes {
		block := make([]byte, 1<<20)
		for index := range block {
			block[index] = 1
		}
		hoard = append(hoard, block)
	}
	return uint32(len(hoard))
}

func ReadFile(path string) Result[string, Problem] {
	text, err := os.ReadFile(path)
	if err != nil {
		return Err[string, Problem](MakeProblemFailed(err.Error()))
	}
	return Ok[string, Problem](string(text))
}

func Remember(key string, value string) Result[Unit, Problem] {
	bucket := keyvalue.Open("")
	if bucket.IsErr() {
		return Err[Unit, Problem](storeProblem(bucket.Err()))
	}
	set := bucket.Ok().Set(key, []byte(value))
	if set.IsErr() {
		return Err[Unit, Problem](storeProblem(set.Err()))
	}
	return Ok[Unit, Problem](Unit{})
}

func Recall(key string) Result[Option[string], Problem] {
	bucket := keyvalue.Open("")
	if bucket.IsErr() {
		return Err[Option[string], Problem](storeProblem(bucket.Err()))
	}
	value := bucket.Ok().Get(key)
	if value.IsErr() {
		return Err[Option[string], Problem](storeProblem(value.Err()))
	}
	if value.Ok().IsNone() {
		return Ok[Option[string], Problem](None[string]())
	}
	return Ok[Option[string], Problem](Some(string(value.Ok().Some())))
}

func Setting(key string) Result[Option[string], Problem] {
	value := config.Get(key)
	if value.IsErr() {
		return Err[Option[string], Problem](MakeProblemUnavailable("no configuration"))
	}
	return Ok[Option[string], Problem](value.Ok())
}

func Fetch(authority string, path string) Result[string, Problem] {
	request := http.MakeOutgoingRequest(http.MakeFields())
	if request.SetScheme(Some(http.MakeSchemeHttp())).IsErr() ||
		request.SetAuthority(Some(authority)).IsErr() ||
		request.SetPathWithQuery(Some(path)).IsErr() {
		return Err[string, Problem](MakeProblemInvalidInput("`authority` or `path` can't be part of a URL"))
	}
	pending := outgoing.Handle(request, None[*http.RequestOptions]())
	if pending.IsErr() {
		return Err[string, Problem](httpProblem(pending.Err()))
	}
	ready := pending.Ok().Subscribe()
	ready.Block()
	// A resource is dropped before the one that it came from.
	ready.Drop()
	answer := pending.Ok().Get().Some().Ok()
	if answer.IsErr() {
		return Err[string, Problem](httpProblem(answer.Err()))
	}
	stream := answer.Ok().Consume().Ok().Stream().Ok()
	defer stream.Drop()
	var text []byte
	for {
		read := stream.BlockingRead(1 << 16)
		switch {
		case read.IsOk():
			text = append(text, read.Ok()...)
		case read.Err().Tag() == wasi_io_streams.StreamErrorClosed:
			return Ok[string, Problem](string(text))
		default:
			return Err[string, Problem](MakeProblemUnavailable("no answer"))
		}
	}
}

func storeProblem(problem keyvalue.Error) Problem {
	if problem.Tag() == keyvalue.ErrorAccessDenied {
		return MakeProblemFailed("access denied")
	}
	return MakeProblemUnavailable("no store")
}

func httpProblem(code http.ErrorCode) Problem {
	if code.Tag() == http.ErrorCodeHttpRequestDenied {
		return MakeProblemFailed("access denied")
	}
	return MakeProblemUnavailable("no answer")
}
