"""What the sources say, claim by claim, and the row that tests each: `python -m experiments._ledger > docs/ledger.md`.

Claims are in our words, of the sources' files 000 to 004; margins are what would matter to a reader of the table.
"""

from pathlib import Path

from flaxmask.reporting.ledger import Above, Better, Claim, Fact, Level, Steadier, markdown, read

PUBLISHED = Path(__file__).parent.parent / "results" / "published"

_LSTM = "LSTM: all positions, handed over"
_WHOLE = "Transformer: all positions, handed over"
_COOL, _HOT = "temperature 0.5, top-k all, top-p 1.0", "temperature 1.5, top-k all, top-p 1.0"

CLAIMS = (
    # 000: LSTM encoder-decoder with masks, decoder input and interactive attention.
    Claim(
        "A1",
        "000",
        "A float mask multiplied onto an LSTM's inputs keeps padding out of its answers",
        "recurrent_padding",
        Fact("post-padded, inputs times mask", "batch_drift", "<", 1e-5),
    ),
    Claim(
        "A2",
        "000",
        "Holding the state through padding keeps it out",
        "recurrent_padding",
        Fact("post-padded, state held", "batch_drift", "<", 1e-5),
    ),
    Claim(
        "A3",
        "000",
        "The encoder's final state is enough for a decoder: as good as attention to all positions",
        "connection",
        Level("LSTM: no attention, handed over", _LSTM, "tokenised_bleu", 0.5),
    ),
    Claim(
        "A4",
        "000",
        "A decoder that starts from the encoder's state is better than one that starts from zeros",
        "connection",
        Better(_LSTM, "LSTM: all positions, zero", "tokenised_bleu", 0.5),
    ),
    Claim(
        "A5",
        "000",
        "A decoder must not start from random numbers",
        "connection",
        Better(_LSTM, "LSTM: all positions, random", "tokenised_bleu", 0.5),
    ),
    Claim(
        "B1",
        "000",
        "Interactive attention (gates) is better than no attention",
        "interactive_attention",
        Better("σ-gate, bias outside", "none", "per", 2.0),
    ),
    Claim(
        "B2",
        "000",
        "Gates serve as well as attention whose weights add up to 1",
        "interactive_attention",
        Level("σ-gate, bias outside", "softmax, bias outside", "per", 2.0),
    ),
    Claim(
        "B3",
        "000",
        "Gates serve as well as additive attention",
        "interactive_attention",
        Level("σ-gate, bias outside", "additive", "per", 2.0),
    ),
    Claim(
        "B4",
        "000",
        "The bias of the decoder's input belongs outside of the tanh",
        "interactive_attention",
        Better("σ-gate, bias outside", "σ-gate, bias inside", "per", 2.0),
    ),
    Claim(
        "B5",
        "000",
        "The decoder's input is masked, as coded",
        "specimens",
        Fact("masked input never used, literal", "leaks", "=", 0),
    ),
    Claim(
        "B6",
        "000",
        "A mask on one-hot inputs hides them, as coded",
        "specimens",
        Fact("mask on one-hot ids, literal", "batch_drift", "<", 1e-5),
    ),
    Claim(
        "B7",
        "000",
        "The recurrence, as coded, remembers what came before",
        "specimens",
        Fact("recurrence without state, literal", "dead", "=", 0),
    ),
    Claim(
        "B8",
        "000",
        "A memory multiplied by its mask hides what is masked",
        "mask_forms",
        Fact("memory multiplied", "batch_drift", "<", 1e-5),
    ),
    Claim(
        "B9",
        "000",
        "A memory multiplied by its mask serves as well as masked weights",
        "loops",
        Level("memory", "flaxmask", "per", 2.0),
    ),
    Claim(
        "B10",
        "000",
        "c ⊙ [0, 1, 0] is [0, c_2, 0]",
        reason="arithmetic: the doctests of attention/interactive.py and attention/forms.py hold it",
    ),
    # 001: the decoder's input of a Transformer.
    Claim(
        "C1",
        "001",
        "The pad's embedding stays zero and gets no gradient",
        reason="a property of the code, not of a training: tests/models/test_transformer.py holds it",
    ),
    Claim(
        "C2",
        "001",
        "One number for all channels tells positions apart as sines of many wavelengths do",
        "specimens",
        Fact(
            "positions: one number for all channels",
            "least_distance",
            ">",
            "positions: sines of many wavelengths",
        ),
    ),
    Claim(
        "C3",
        "001",
        "That number is better than no positions at all",
        "positions",
        Better("single number", "none", "per_trained", 2.0),
    ),
    Claim(
        "C4",
        "001",
        "It serves as well as sines of many wavelengths",
        "positions",
        Level("single number", "sinusoid", "per_trained", 2.0),
    ),
    Claim(
        "C5",
        "001",
        "−1e9 times a mask in which True is visible hides padding, as coded",
        "specimens",
        Fact("mask of the wrong sign, literal", "leaks", "=", 0),
    ),
    Claim(
        "C6",
        "001",
        "−1e9 added the right way round hides padding",
        "mask_forms",
        Fact("-1e9 added", "leaks", "=", 0),
    ),
    Claim(
        "C7",
        "001",
        "−1e9 serves in every precision",
        "mask_forms",
        Fact("-1e9 added, float16", "nan_outputs", "=", 0),
    ),
    Claim(
        "C8",
        "001",
        "Cross-attention needs the source's padding hidden",
        "decoder_masks",
        Fact("causal, shifted, padding hidden, source's padding seen", "leaks", ">", 0),
    ),
    # 002: the Transformer encoder-decoder, decoding.
    Claim(
        "D1",
        "002",
        "A decoder may be handed one vector for the whole source: as good as all positions",
        "connection",
        Level("Transformer: last state, handed over", _WHOLE, "tokenised_bleu", 0.5),
    ),
    Claim(
        "D2",
        "002",
        "With one vector for a memory, the query decides what is read of it",
        "specimens",
        Fact("one vector for a memory, literal", "constant_outputs", "=", 0),
    ),
    Claim(
        "D3",
        "002",
        "LayerNorm(Softmax(a)) carries as much as the sum under the same norm",
        "specimens",
        Fact("layer: softmax, then norm", "channels_used", ">", "layer: sum, then norm"),
    ),
    Claim(
        "D4",
        "002",
        "Several heads are better than one, at equal parameters",
        "heads_and_layers",
        Better("4 heads, 3 layers", "1 head, 3 layers", "per", 2.0),
    ),
    Claim(
        "D5",
        "002",
        "Eight heads are better than one",
        "heads_and_layers",
        Better("8 heads, 3 layers", "1 head, 3 layers", "per", 2.0),
    ),
    Claim(
        "D6",
        "002",
        "More layers are better: five against three",
        "heads_and_layers",
        Better("4 heads, 5 layers", "4 heads, 3 layers", "per", 2.0),
    ),
    Claim(
        "D7",
        "002",
        "The decoder must read the target shifted by one",
        "decoder_masks",
        Fact("causal, not shifted, padding hidden", "leaks", ">", 0),
    ),
    Claim(
        "D8",
        "002",
        "A higher temperature makes outputs more diverse",
        "sampling",
        Better(_HOT, _COOL, "distinct_2", 1.0),
    ),
    Claim(
        "D9",
        "002",
        "It costs no quality",
        "sampling",
        Level(_HOT, _COOL, "tokenised_bleu", 0.5),
    ),
    Claim(
        "D10",
        "002",
        "top-p 0.9 keeps quality where the temperature is high",
        "sampling",
        Better("temperature 1.5, top-k all, top-p 0.9", _HOT, "tokenised_bleu", 0.5),
    ),
    Claim(
        "D11",
        "002",
        "Without any mask outputs do not end as they should",
        "loops",
        Better("flaxmask", "no mask", "unending", 1.0),
    ),
    Claim(
        "D12",
        "002",
        "Without any mask outputs repeat themselves",
        "loops",
        Better("flaxmask", "no mask", "repeated_4grams", 1.0),
    ),
    Claim(
        "D13",
        "002",
        "At width 512, 6 layers and 20 epochs it translates WMT14 English to French",
        reason="weeks of two cores, and WMT14 is not at hand; `multi30k` at scale paper is the largest training kept",
    ),
    # 003: dynamic masks against static padding.
    Claim(
        "E1",
        "003",
        "Masks reduce computation",
        "cost_of_masks",
        Fact("static, dense mask", "attention_flops", "<", "static, no mask"),
    ),
    Claim(
        "E2",
        "003",
        "Masks whose hidden blocks are skipped reduce computation",
        "cost_of_masks",
        Fact("static, skipped blocks", "attention_flops", "<", "static, no mask"),
    ),
    Claim(
        "E3",
        "003",
        "Dynamic masks reduce parameters",
        "cost_of_masks",
        Fact("dynamic, dense mask", "parameters", "<", "static, no mask"),
    ),
    Claim(
        "E4",
        "003",
        "Dynamic padding sees more real tokens a second than static padding",
        "padding",
        Fact("dynamic", "real_tokens_per_second", ">", "static"),
    ),
    Claim(
        "E5",
        "003",
        "Dynamic padding learns better than static padding",
        "lengths",
        Better("dynamic", "static", "per", 2.0),
    ),
    Claim(
        "E6",
        "003",
        "Packed rows, with a mask, learn as well as static ones",
        "lengths",
        Level("packed", "static", "per", 2.0),
    ),
    Claim(
        "E7",
        "003",
        "A mask multiplied onto the weights after the softmax hides padding",
        "specimens",
        Fact("weights times mask, literal", "leaks", "=", 0),
    ),
    Claim(
        "E8",
        "003",
        "Such a model classifies as well as one that masks the scores",
        "stability",
        Level("multiplied", "flaxmask", "accuracy", 2.0),
    ),
    Claim(
        "E9",
        "003",
        "Masks make a classifier better",
        "stability",
        Better("flaxmask", "no mask", "accuracy", 1.0),
    ),
    Claim(
        "E10",
        "003",
        "Masks make training steadier: fewer spikes of the gradients",
        "stability",
        Better("flaxmask", "no mask", "gradient_spikes", 5.0),
    ),
    Claim(
        "E11",
        "003",
        "Masks make training steadier: less spread over seeds",
        "stability",
        Steadier("flaxmask", "no mask", "accuracy"),
    ),
    Claim(
        "E12",
        "003",
        "Masks help where there are few examples: at 1 % of them",
        "low_data",
        Better("1 %, masked", "1 %, no mask", "accuracy", 2.0),
    ),
    Claim(
        "E13",
        "003",
        "Masks help where there are many: at 100 %",
        "low_data",
        Better("100 %, masked", "100 %, no mask", "accuracy", 2.0),
    ),
    Claim(
        "E14",
        "003",
        "Weights [0.2, 0.3, 0.5, 0.1, 0.1] are masked to [0.2, 0.3, 0.5, 0.1, 0.0]",
        reason="the weights add up to 1.2, so no softmax gave them; the arithmetic itself is a doctest of "
        "attention/forms.py",
        ill_posed=True,
    ),
    Claim(
        "E15",
        "003",
        "Dynamic masks are better than static padding",
        reason="padding is a layout and a mask is a formula: static rows need a mask as dynamic ones do. E1 to E6 ask "
        "what can be asked",
        ill_posed=True,
    ),
    Claim(
        "E16",
        "003",
        "It serves summaries and answers to questions too",
        reason="no such corpus is at hand; `gigaword`, `cnn_dailymail` and `squad` are known by name",
    ),
    # 004: masked multi-head attention.
    Claim(
        "F1",
        "004",
        "softmax(x + mask) with 1 on what is hidden hides it",
        "specimens",
        Fact("mask added to scores, literal", "leaks", "=", 0),
    ),
    Claim(
        "F2",
        "004",
        "So it does on values that are weighted already, as the text says",
        "specimens",
        Fact("mask added to values, literal", "leaks", "=", 0),
    ),
    Claim(
        "F3",
        "004",
        "A reshape without a transpose splits heads",
        "specimens",
        Fact("heads by a reshape, literal", "leaks", "=", 0),
    ),
    Claim(
        "F4",
        "004",
        "With heads in front, each example still reads itself alone",
        "specimens",
        Fact("heads across examples, literal", "leaks", "=", 0),
    ),
    Claim(
        "F5",
        "004",
        "Hidden scores may be −∞ as they stand",
        "mask_forms",
        Fact("minus infinity", "nan_outputs", "=", 0),
    ),
    Claim(
        "F6",
        "004",
        "Without any mask a decoder writes worse",
        "loops",
        Better("flaxmask", "no mask", "per", 2.0),
    ),
    Claim(
        "F7",
        "004",
        "It translates English to Chinese (the cat sat on the mat)",
        reason="some minutes on 8,000 sentences teach too little to ask of (`translation_zh`: chrF 3 to 5)",
    ),
    # What the sources name as outlook.
    Claim(
        "G1",
        "000 to 004",
        "Attention weights say what an output depends on: their order goes with that of the effects (ρ above 0.5)",
        "explain",
        Above("Transformer, 2 layers, 4 heads", "attention_rank", 0.5),
    ),
    Claim(
        "G2",
        "000 to 004",
        "Sparse attention computes less: a window of 16",
        "sparse",
        Fact("window of 16", "visible_flops", "<", "full"),
    ),
    Claim(
        "G3",
        "000 to 004",
        "It keeps the quality: a window of 16",
        "sparse",
        Level("window of 16", "full", "loss", 0.02),
    ),
    Claim(
        "G4",
        "000 to 004",
        "So does a window of 4",
        "sparse",
        Level("window of 4", "full", "loss", 0.02),
    ),
    Claim(
        "G5",
        "000 to 004",
        "Keys chosen by content beat a window: 4 keys a query",
        "sparse",
        Better("top 4 by content", "window of 4", "loss", 0.02),
    ),
    Claim(
        "G6",
        "000 to 004",
        "Other positions serve longer sequences better: ALiBi against sines",
        "positions",
        Better("ALiBi", "sinusoid", "per_longer", 2.0),
    ),
    Claim(
        "G7",
        "000 to 004",
        "So does a learned bias by distance",
        "positions",
        Better("relative", "sinusoid", "per_longer", 2.0),
    ),
    Claim(
        "G8",
        "000 to 004",
        "A Transformer serves longer sequences better than an LSTM",
        "positions",
        Better("sinusoid", "LSTM", "per_longer", 2.0),
    ),
    Claim(
        "G9",
        "000 to 004",
        "Masks drawn anew each epoch teach a masked language model more than fixed copies",
        reason="`mlm_masking` is of one seed, whose scores in examples were not kept: no test can be made of it yet",
    ),
)

_HEAD = """# The ledger

Written by `python -m experiments._ledger` from the published results; a test
derives it anew. What the sources that this project comes from say of masks, attention and padding, in our words (000 to
004 are their files), and what was measured of each.

* **Measure**: of scores the difference with its 95 % interval, the wider of two where the examples and the seeds both
  give one; of figures that follow from the configuration alone (leaks, operations, parameters) the figures.
* **Verdict**: *no effect* where two one-sided tests show the difference to be less than the margin; *confirmed* or
  *refuted* where every test shows a difference (p < 0.05); a claim that two are as good as each other is confirmed
  within the margin. *Open* where the tests saw neither: the last column says how large an effect they would have seen,
  four times of five. *Ill-posed* is what cannot be asked as it stands; *left out* is what has no row, with the reason.
* All trainings are of minutes on two CPU cores: a verdict is of that size.

"""


def ledger() -> str:
    """The page."""
    return _HEAD + markdown(CLAIMS, read(CLAIMS, PUBLISHED))


if __name__ == "__main__":
    print(ledger(), end="")
