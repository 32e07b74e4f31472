package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// many is a line of a bulk request: its text for each of the IDs.
type many struct {
	To   targets `json:"to"`
	Text string  `json:"text"`
}

// targets are one ID or an array of them.
type targets struct {
	ids     []string
	isArray bool
}

func (t *targets) UnmarshalJSON(b []byte) error {
	if t.isArray = b[0] == '['; t.isArray {
		return json.Unmarshal(b, &t.ids)
	}
	t.ids = make([]string, 1)
	return json.Unmarshal(b, &t.ids[0])
}

// outcome is a line of the answer, for one push.
type outcome struct {
	Line   int  `json:"line"`
	Index  *int `json:"index,omitempty"`
	Status int  `json:"status"`
}

// last is the last line of the answer.
type last struct {
	Lines int `json:"lines"`
}

// HandleBulk serves POST /push with push, as a straightforward program would: line after line, as they come, and with their
// outcomes sent when there is nothing more to read. It knows no more of wspush's format than the benchmark sends.
func (s *Server) HandleBulk(push func(id string, data []byte) error) {
	s.Mux.HandleFunc("POST /push", func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := rc.EnableFullDuplex(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		out := json.NewEncoder(w)
		in := bufio.NewReaderSize(r.Body, 64<<10)
		for n := 1; ; n++ {
			if in.Buffered() == 0 {
				_ = rc.SetWriteDeadline(time.Now().Add(s.WriteTimeout))
				if err := rc.Flush(); err != nil {
					return
				}
			}
			line, err := in.ReadSlice('\n')
			if err != nil {
				_ = out.Encode(last{Lines: n - 1})
				return
			}
			var m many
			if err := json.Unmarshal(line, &m); err != nil {
				_ = out.Encode(outcome{Line: n, Status: http.StatusBadRequest})
				continue
			}
			data := []byte(m.Text)
			for i, id := range m.To.ids {
				o := outcome{Line: n, Status: status(push(id, data))}
				if m.To.isArray {
					o.Index = &i
				}
				if err := out.Encode(o); err != nil {
					return
				}
			}
		}
	})
}

// status is what a push is answered with.
func status(err error) int {
	switch {
	case errors.Is(err, ErrGone):
		return http.StatusGone
	case err != nil:
		return http.StatusInternalServerError
	}
	return http.StatusNoContent
}
