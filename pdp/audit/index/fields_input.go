package index

// input takes what is wanted of "input": the token, the verification, the request and the change.
func (f *fields) input(s *scanner) {
	s.object(func(name []byte) {
		switch string(name) {
		case "token":
			f.token(s)
		case "verification":
			f.verification(s)
		case "request":
			s.object(func(name []byte) {
				switch string(name) {
				case "audience":
					f.audience = s.textOrNull()
				case "token_type":
					f.tokenType = s.textOrNull()
				default:
					s.skip()
				}
			})
		case "change":
			f.change(s)
		default:
			s.skip()
		}
	})
}

func (f *fields) verification(s *scanner) {
	s.object(func(name []byte) {
		switch string(name) {
		case "status":
			f.status = s.textOrNull()
		case "issuer":
			f.issuer = s.textOrNull()
		case "key":
			s.object(func(name []byte) {
				if string(name) == "thumbprint" {
					f.key = s.textOrNull()
				} else {
					s.skip()
				}
			})
		default:
			s.skip()
		}
	})
}

func (f *fields) token(s *scanner) {
	s.object(func(name []byte) {
		switch string(name) {
		case "alg":
			f.alg = s.textOrNull()
		case "claims":
			s.object(func(name []byte) {
				switch string(name) {
				case "client_id":
					f.client = s.stringOrNothing()
				case "azp":
					f.azp = s.stringOrNothing()
				case "sub":
					f.subject = s.stringOrNothing()
				default:
					s.skip()
				}
			})
		default:
			s.skip()
		}
	})
}

func (f *fields) change(s *scanner) {
	s.object(func(name []byte) {
		if string(name) != "about" {
			s.skip()
			return
		}
		s.object(func(name []byte) {
			switch string(name) {
			case "kind":
				f.about = s.textOrNull()
			case "issuer":
				f.issuer = s.textOrNull()
			case "value":
				f.aboutValue = s.textOrNull()
			default:
				s.skip()
			}
		})
	})
}

func (f *fields) result(s *scanner) {
	s.object(func(name []byte) {
		switch string(name) {
		case "allow":
			f.allow = s.boolean()
		case "supersedes":
			f.superseded = len(s.textOrNull()) > 0
		case "reasons":
			s.array(func() { f.reason(s) })
		default:
			s.skip()
		}
	})
}

func (f *fields) reason(s *scanner) {
	var r reasonFields
	s.object(func(name []byte) {
		switch string(name) {
		case "code":
			r.code = s.textOrNull()
		case "enforcement":
			r.enforcement = s.textOrNull()
		case "severity":
			r.severity = s.textOrNull()
		case "controls":
			from := len(f.controls)
			s.array(func() {
				if len(f.controls) > from {
					f.controls = append(f.controls, ' ')
				}
				f.controls = append(f.controls, s.textOrNull()...)
			})
			r.controls = f.controls[from:len(f.controls):len(f.controls)]
		default:
			s.skip()
		}
	})
	f.reasons = append(f.reasons, r)
}
