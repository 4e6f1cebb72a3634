//! What words say, in ten languages: words that name a task, and words that make an ask harder or easier whatever the task.
//! Structure cannot tell "translate" from "summarise"; these can.
//!
//! `word*` is a stem, `=word` weighs double; words of scripts without spaces, and Arabic, are found as pieces of the text.

use super::letters::{EMPTY, hashed, unspaced};
use std::sync::OnceLock;

/// The shortest and the longest stem, in characters.
pub(super) const STEM_MIN: u32 = 3;
/// Longer stems are no stems.
pub(super) const STEM_MAX: u32 = 12;
/// The longest piece, in characters.
pub(super) const PIECE_MAX: usize = 5;

/// What a word speaks for. The first ten are the tasks, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// Make it shorter.
    Summarise,
    /// Say it in another language.
    Translate,
    /// Make something up.
    Creative,
    /// A question of knowledge.
    SimpleQuestion,
    /// Find, list or classify.
    Extract,
    /// A program.
    Code,
    /// Something fails.
    Debug,
    /// Calculate or prove.
    Maths,
    /// Conclude.
    Logic,
    /// Plans, designs, comparisons.
    MultiStep,
    /// Not, never, without.
    Negation,
    /// Every, each, all, none.
    Quantifier,
    /// If, then, unless.
    Conditional,
    /// More, less, before, left of.
    Comparison,
    /// First, next, finally.
    Sequence,
    /// Days, months, hours.
    Time,
    /// How the answer must look.
    Format,
    /// Examples, inputs, outputs.
    Example,
    /// Must, exactly, at most.
    Constraint,
    /// And, or, true, false.
    Connective,
    /// One, two, three.
    NumberWord,
    /// Says, claims, tells.
    Claim,
    /// Units and money.
    Unit,
    /// Grids, rows, boards.
    Grid,
    /// Letters, strings, words.
    Text,
    /// Paths, nodes, edges.
    Graph,
    /// Lists, sets, sorting.
    List,
    /// Games and puzzles.
    Game,
    /// Kin and people.
    Person,
    /// Words of natural science.
    Science,
    /// Words of law, trade, medicine and society.
    Society,
    /// Films, songs, sport, fame.
    Culture,
    /// Reserved words of programming languages.
    Keyword,
    /// Why, how, explain.
    Explain,
    /// Rules and operations to be applied.
    Rule,
    /// Of the following, options, choose.
    Choice,
}

/// How many classes there are.
pub const CLASSES: usize = 36;

impl Class {
    /// Its place in a table.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

static WORDS: [(Class, &str); CLASSES] = [
    (
        Class::Summarise,
        "=summar* =summary =tldr =tl shorten* condens* recap gist abridge* key takeaways digest \
        =zusammenfass* =fasse kürze* =résum* =resum* =riassum* =sintetizza* sintetiz* =кратк* =резюм* =сократи* \
        =总结 =摘要 =概括 =概述 =要約 =まとめ =لخص =ملخص =تلخيص",
    ),
    (
        Class::Translate,
        "=translat* =übersetz* =tradui* =traduz* =traduc* =traduce* =tradurre =перевед* =перевод* =翻译 =翻譯 =译成 =翻訳 =訳して =訳し =ترجم =ترجمة localize* localise*",
    ),
    (
        Class::Creative,
        "=poem* =haiku* =story =stories =tale =novel* =song* =lyric* =limerick* =slogan* =tagline* invent* =fictional imagine =sonnet* dialogue =toast joke* brainstorm* rewrite* rephrase* polite* friendly tone =email =letter greeting* birthday invitation* caption* blog tweet =essay \
        =gedicht* =geschichte* =erzähl* =märchen* brief =mail einladung* =poème* =histoire* =conte lettre* =cuento* =poema* =historia* carta* correo* =poesia* =racconto* =storia lettera* =conto =стих* =сказк* =рассказ* =истори* письм* =поздрав* \
        =写一首 =诗 =故事 =写一封 =邮件 =文案 =物語 =俳句 =詩 =メール =手紙 =قصيدة =قصة =رسالة",
    ),
    (
        Class::SimpleQuestion,
        "what who when where which whose is are does define meaning stands capital how many much old far tall \
        was wer wann wo welche* wie heißt hauptstadt quelle* quel qui quand où combien capitale qué quién cuándo dónde cuál cuánto* cuánt* cómo chi quando dove quale quanti quanto cosa qual onde quem que кто что когда где какой какая какие сколько столиц* \
        什么 谁 哪 多少 几 是什么 何 誰 いつ どこ どれ いくつ ですか ما من متى أين كم هل",
    ),
    (
        Class::Extract,
        "=extract* =classif* categor* =sentiment =label* identify list tag entities =parse keyword* =names dates positive negative column* field* json csv \
        =extrahier* =klassifizier* =ordne liste =extrai* =extraer =extrae =clasifica* =classe* étiquet* =estrai* =classifica* =выдел* =извлек* =извлеч* =классифиц* =определ* \
        =提取 =分类 =抽取 =列出 =抽出 =分類 =استخرج =صنف",
    ),
    (
        Class::Code,
        "=function =code =script* =implement* =program* =regex* =sql =query =class =api =endpoint* =python =rust =javascript =typescript =java =golang =bash =html =css =react =refactor* =unittest* =algorithm* =method compile* database parser* loop variable* docstring* \
        =funktion* =skript* =programmier* =implementier* =fonction* =programme* =función* =funcion* =programa* =funzione* =função* =implementa* =функци* =скрипт* =программ* =код =запрос* \
        =函数 =代码 =脚本 =编程 =实现 =関数 =コード =スクリプト =実装 =دالة =كود =برنامج",
    ),
    (
        Class::Debug,
        "=bug* =debug* =error* =exception* =crash* =fails =failing =fail =broken =fix =stacktrace =traceback =segfault* =deadlock* =leak* =hangs =panic* doesnt work* wrong unexpected* race flaky \
        =fehler* =absturz* =stürzt =behebe* funktioniert =erreur* =plante* =corrige* bogue* =falla* =fallo* =corregir =arregla* =errore* =correggi* =erro =falha* =corrija* =ошибк* =падает =исправ* =баг* \
        =报错 =错误 =调试 =崩溃 =修复 =エラー =バグ =デバッグ =修正 =خطأ =أصلح",
    ),
    (
        Class::Maths,
        "=calculat* =comput* =prove =proof =integral* =derivative* =equation* =solve =probabilit* =theorem* =polynomial* =matrix =eigenvalue* =prime* =divisib* =percent* =interest average sum area volume modulo fraction* expected =combinat* =permutation* =converge* =limit factor* remainder simplify derive =derivation \
        =berechne* =beweis* =ableitung* =gleichung* =wahrscheinlichkeit* =löse =primzahl* =calcule* =démontre* =prouve* =dérivée* =équation* =probabilité* =résou* =calcula* =demuestra* =demonstr* =ecuación* =probabilidad* =resuelve* =derivada* =calcola* =dimostra* =equazion* =risolvi* =equaç* =resolva* =вычисл* =докаж* =уравнен* =вероятност* =производн* =интеграл* =реши* \
        =计算 =证明 =方程 =概率 =求解 =积分 =导数 =多少钱 =計算 =証明 =方程式 =確率 =解いて =求め =積分 =احسب =أثبت =معادلة =احتمال",
    ),
    (
        Class::Logic,
        "=puzzle* =riddle* =knights =knaves =liar* =truth =deduce* =infer* =logical* =logic =syllogis* =therefore =conclude* =conclusion* =contradict* =paradox* =constraint* =seated =sits =older taller if every either neither must exactly weigh* switch* =cross* \
        =rätsel* =logisch* =lügner* =schlussfolger* =folgt =énigme* =logique* =menteur* =déduis* =acertijo* =lógic* =mentiroso* =deduce* =indovinello* =logic* =bugiard* =enigma* =mentem =загадк* =логическ* =логик* =лжец* =лгун* =следует \
        =谜题 =逻辑 =推理 =说谎 =说真话 =パズル =論理 =嘘つき =推理 =لغز =منطق =كاذب",
    ),
    (
        Class::MultiStep,
        "=plan* =step =steps =strategy =strategies =roadmap* =architect* =design* =migrat* =compare* =trade =tradeoff* =evaluate* =analy* =investigat* =itinerar* =schedul* =optimi* =then =finally first second next propose* recommend* budget* phases \
        =schritt* =plane =strategie* =entwirf* =entwurf* =vergleich* =analysier* =migrier* dann anschließend =étape* =stratégie* =conçois =planifie* =compare* =analyse* ensuite =pasos =paso =diseña* =planifica* =compara* =analiza* =passo =passi =progetta* =pianifica* =confronta* =analizza* =planej* =projete* =этап* =шаг* =план* =спроектир* =разработа* =сравн* =проанализир* =стратег* \
        =计划 =步骤 =设计 =方案 =比较 =分析 =架构 =策略 =計画 =手順 =設計 =比較 =ステップ =خطة =خطوات =صمم =قارن =حلل",
    ),
    (
        Class::Negation,
        "not no never none nothing neither nor without cannot cant dont doesnt isnt arent wont nobody except \
        nicht kein keine nie ohne ne pas sans jamais nunca ni sin non mai senza não nem sem не нет без никогда 不 没 非 无 ない ません なし لا ليس بدون",
    ),
    (
        Class::Quantifier,
        "each every all any some most both only everyone everybody someone somebody \
        jede* alle einige nur chaque tous toutes cada todos todas ogni tutti tutte каждый каждая все любой 每 所有 任意 全部 すべて 全て كل جميع",
    ),
    (
        Class::Conditional,
        "if then unless whether otherwise else suppose assume assuming given when implies \
        wenn falls sonst angenommen si sinon supposons supongamos entonces se allora supponiamo suponha então если то иначе пусть 如果 假设 若 もし ならば 仮定 إذا لو",
    ),
    (
        Class::Comparison,
        "more less fewer greater smaller larger higher lower older younger taller shorter longer than least before after above below between left right next behind better best worse worst same different equal \
        mehr weniger größer kleiner als vor nach links rechts zwischen plus moins avant après gauche droite más menos antes después izquierda derecha più meno prima dopo sinistra destra mais depois esquerda direita больше меньше до после слева справа 大于 小于 比 之前 之后 左 右 より 前 後 أكثر أقل قبل بعد",
    ),
    (
        Class::Sequence,
        "first second third fourth fifth then next afterwards finally last initially start* end* begin* step steps round rounds turn turns throughout \
        erst* zuerst danach schließlich premier ensuite enfin primero luego finalmente primo poi infine primeiro depois сначала затем потом наконец 首先 然后 接着 最后 まず 次に 最後 أولا ثم أخيرا",
    ),
    (
        Class::Time,
        "monday tuesday wednesday thursday friday saturday sunday january february march april june july august september october november december day days week weeks month months year years hour hours minute minutes date today tomorrow yesterday clock am pm \
        tag tage woche monat jahr stunde* jour jours semaine mois année heure día días semana mes año hora giorno settimana mese anno ora dia ano день дней недел* месяц год час 天 周 月 年 小时 日 週 時間 يوم أسبوع شهر سنة ساعة",
    ),
    (
        Class::Format,
        "answer answers output format return respond response reply provide give only json comma separated brackets final exactly show state report write \
        antworte* antwort gib réponds réponse donne responde respuesta rispondi risposta responda resposta ответ ответь выведи 回答 答案 输出 答え 出力 أجب",
    ),
    (
        Class::Example,
        "example examples e.g eg ex input inputs output outputs case cases instance test sample following \
        beispiel* exemple* ejemplo* esempio exemplo* пример* 例如 例子 示例 例えば 例 مثال",
    ),
    (
        Class::Constraint,
        "must exactly should shall cannot only least most at unique distinct exclusive require* required allowed forbidden maximum minimum limit within no \
        muss müssen genau höchstens mindestens doit exactement debe exactamente deve esattamente exatamente должен должны ровно 必须 恰好 至少 至多 最多 必ず ちょうど يجب",
    ),
    (
        Class::Connective,
        "and or not true false xor iff implies both either valid invalid yes",
    ),
    (
        Class::NumberWord,
        "one two three four five six seven eight nine ten eleven twelve twenty thirty fifty hundred thousand million half twice double triple dozen \
        eins zwei drei vier fünf deux trois quatre cinq dos tres cuatro cinco due tre quattro cinque dois três quatro два три четыре пять 两 三 四 五",
    ),
    (
        Class::Claim,
        "says said say tells told claims claimed states stated thinks believes believe knows lies lie lying truthful honest",
    ),
    (
        Class::Unit,
        "kg km cm mm mg ml kilogram* meter* metre* mile miles inch inches feet foot liter* litre* gallon* pound* ounce* degree* celsius fahrenheit kelvin volt* watt* ohm* newton* joule* pascal* mol moles dollar* euro* cent cents usd price cost costs percent rate speed",
    ),
    (
        Class::Grid,
        "grid grids matrix row rows column columns cell cells board square squares table diagonal horizontal vertical adjacent neighbor* neighbour* island cube cubes rotate* rotation shape",
    ),
    (
        Class::Text,
        "letter letters string strings word words character characters substring sentence palindrome vowel* alphabet* spell reverse* backward anagram* cipher decrypt encrypt scrambled",
    ),
    (
        Class::Graph,
        "path paths shortest node nodes edge edges graph vertex vertices connected route tree cycle color colors colour* flow network",
    ),
    (
        Class::List,
        "list lists set sets sort sorted order ordered ascending descending sequence element elements array arrays item items subset count number numbers digits digit integer integers group",
    ),
    (
        Class::Game,
        "game games puzzle puzzles player players move moves chess card cards dice roll tower disk queen king piece pieces win winner sudoku maze knight",
    ),
    (
        Class::Person,
        "mother father son daughter brother sister aunt uncle cousin grand* wife husband married child children friend friends boy girl man woman people person he she his her him they them their my i me",
    ),
    (
        Class::Science,
        "energy force mass velocity acceleration temperature pressure gas electron* atom* molecule* cell* protein* dna gene* reaction* acid* chemical* current voltage circuit magnetic electric wave* frequency light planet* species plant* enzyme* heat density",
    ),
    (
        Class::Society,
        "law legal court contract* market* econom* price* company compan* bank* tax* government* state policy patient* disease* treatment* health drug* diagnos* war president religion philosoph* moral* theory social psycholog* manage* firm* demand supply",
    ),
    (
        Class::Culture,
        "movie* film* song* sing* sang band album* season* episode* series show actor* actress* play* team* league cup champion* book* author* character* artist* director* won award* celebrity star* football basketball baseball",
    ),
    (
        Class::Keyword,
        "def return import class for while if else elif function var let const int void public private static struct fn impl self none null true false print println console len range append lambda try catch except finally throw new async await select from where join",
    ),
    (
        Class::Explain,
        "why how explain describe difference reason meaning cause because \
        warum wieso wie erkläre* unterschied pourquoi comment explique* différence porqué cómo explica* diferencia perché come spiega* differenza explique diferença почему как объясни* разница 为什么 如何 解释 区别 なぜ どうして 説明 違い لماذا كيف اشرح الفرق",
    ),
    (
        Class::Rule,
        "rule rules operation operations apply applied transform* replace* remove* insert* convert* swap* according pattern map mapping perform* evaluate define defined operator symbol notation",
    ),
    (
        Class::Choice,
        "following options option choose choice select correct best which statement statements",
    ),
];

/// An open table from hashes to what a word speaks for.
struct CueTable {
    slots: Vec<(u64, u32, u32)>,
    mask: usize,
}

impl CueTable {
    /// `through` are hashes of what longer entries begin with: they are found, and speak for nothing by themselves.
    fn of(
        mut found: Vec<(u64, Class, f32)>,
        through: &[u64],
        all: &mut Vec<(Class, f32)>,
    ) -> CueTable {
        found.sort_by_key(|(hash, class, _)| (*hash, class.index()));
        found.dedup_by_key(|(hash, class, _)| (*hash, *class as u8));
        let size = ((found.len() + through.len()) * 4).next_power_of_two();
        let mut table = CueTable {
            slots: vec![(0, 0, 0); size],
            mask: size - 1,
        };
        for chunk in found.chunk_by(|a, b| a.0 == b.0) {
            let from = u32::try_from(all.len()).expect("a few thousand words");
            all.extend(chunk.iter().map(|(_, class, weight)| (*class, *weight)));
            let to = u32::try_from(all.len()).expect("a few thousand words");
            table.put(chunk[0].0, from, to);
        }
        for hash in through {
            if table.range(*hash).is_none() {
                table.put(*hash, 0, 0);
            }
        }
        table
    }

    fn put(&mut self, hash: u64, from: u32, to: u32) {
        let mut at = self.place(hash);
        while self.slots[at].0 != 0 {
            at = (at + 1) & self.mask;
        }
        self.slots[at] = (hash, from, to);
    }

    /// Hashes of one or two characters differ in few bits, so they are spread again.
    fn place(&self, hash: u64) -> usize {
        let spread = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        usize::try_from(spread).unwrap_or(0) & self.mask
    }

    fn range(&self, hash: u64) -> Option<(usize, usize)> {
        let mut at = self.place(hash);
        loop {
            let (key, from, to) = self.slots[at];
            if key == hash {
                return Some((from as usize, to as usize));
            }
            if key == 0 {
                return None;
            }
            at = (at + 1) & self.mask;
        }
    }
}

struct Lexicon {
    words: CueTable,
    stems: CueTable,
    pieces: CueTable,
    /// One bit for each length of the stems that begin with the same three letters of ASCII.
    stem_lengths: Vec<u16>,
    /// One bit for each last character of a piece, by its low 16 bits.
    piece_ends: Vec<u64>,
    all: Vec<(Class, f32)>,
}

fn lexicon() -> &'static Lexicon {
    static LEXICON: OnceLock<Lexicon> = OnceLock::new();
    LEXICON.get_or_init(|| {
        let (mut words, mut stems, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
        let mut endings = Vec::new();
        let mut stem_lengths = vec![0; BEGINNINGS];
        let mut piece_ends = vec![0; 1024];
        for (class, list) in WORDS {
            for entry in list.split_whitespace() {
                let (entry, weight) = entry.strip_prefix('=').map_or((entry, 1.0), |e| (e, 2.0));
                if entry.chars().any(in_pieces) {
                    let (at, bit) = place_of_end(entry.chars().next_back().unwrap_or_default());
                    piece_ends[at] |= bit;
                    let backwards = || entry.chars().rev();
                    endings
                        .extend((1..entry.chars().count()).map(|n| hash_of(backwards().take(n))));
                    pieces.push((hash_of(backwards()), class, weight));
                } else if let Some(stem) = entry.strip_suffix('*') {
                    // Of longer stems no beginning is looked up.
                    if let [a, b, c, ..] = stem.as_bytes()
                        && stem.len() <= STEM_MAX as usize
                    {
                        stem_lengths[place_of_beginning([*a, *b, *c])] |= 1 << stem.len();
                    }
                    stems.push((hash_of(stem.chars()), class, weight));
                } else {
                    words.push((hash_of(entry.chars()), class, weight));
                }
            }
        }
        let mut all = Vec::new();
        Lexicon {
            words: CueTable::of(words, &[], &mut all),
            stems: CueTable::of(stems, &[], &mut all),
            pieces: CueTable::of(pieces, &endings, &mut all),
            stem_lengths,
            piece_ends,
            all,
        }
    })
}

fn hash_of(chars: impl Iterator<Item = char>) -> u64 {
    chars.fold(EMPTY, hashed)
}

/// Words of one kind, and what they speak for.
#[derive(Clone, Copy)]
pub(super) struct Cues {
    table: &'static CueTable,
    all: &'static [(Class, f32)],
}

impl Cues {
    /// What the word of this hash speaks for.
    pub(super) fn cues(self, hash: u64) -> &'static [(Class, f32)] {
        match self.table.range(hash) {
            Some((from, to)) => &self.all[from..to],
            None => &[],
        }
    }
}

/// Whole words.
pub(super) fn whole_words() -> Cues {
    let lexicon = lexicon();
    Cues {
        table: &lexicon.words,
        all: &lexicon.all,
    }
}

/// Beginnings of words.
pub(super) fn stems() -> Cues {
    let lexicon = lexicon();
    Cues {
        table: &lexicon.stems,
        all: &lexicon.all,
    }
}

/// The lengths that a stem may have which begins with these letters of ASCII, small or capital: one bit each.
pub(super) fn stem_lengths(letters: [u8; 3]) -> u16 {
    lexicon().stem_lengths[place_of_beginning(letters)]
}

/// Places for ways to begin. Two may share one, so that some lengths are looked up in vain.
const BEGINNINGS: usize = 2_048;

fn place_of_beginning(letters: [u8; 3]) -> usize {
    // The low five bits of a letter are the same for its capital.
    let [a, b, c] = letters.map(|letter| usize::from(letter & 31));
    (a << 10 | b << 5 | c) * 0x9e37 / 64 % BEGINNINGS
}

/// What a run of characters speaks for; hashed from its end. `None`: neither it nor any longer one that ends so is a piece.
pub(super) fn piece(hash: u64) -> Option<&'static [(Class, f32)]> {
    let lexicon = lexicon();
    let (from, to) = lexicon.pieces.range(hash)?;
    Some(&lexicon.all[from..to])
}

/// Whether a piece may end with this character.
pub(super) fn ends_piece(c: char) -> bool {
    let (at, bit) = place_of_end(c);
    lexicon().piece_ends[at] & bit != 0
}

fn place_of_end(c: char) -> (usize, u64) {
    let low = u32::from(c) & 0xffff;
    ((low / 64) as usize, 1 << (low % 64))
}

/// Whether cues in this script are found inside words.
pub(super) fn in_pieces(c: char) -> bool {
    unspaced(c) || matches!(c, '\u{0600}'..='\u{06FF}')
}
