//! Words that name a task, in ten languages. Structure cannot tell "translate" from "summarise"; these can.
//!
//! A cue weighs most at the beginning and the end of an ask, where instructions stand.

use super::Task;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Words looked at from either end.
const LOOK: usize = 48;
/// Words at either end in which a cue counts in full; further in it counts a third.
const NEAR: usize = 16;
/// The shortest stem; shorter words must match whole.
const STEM_MIN: usize = 4;
/// Characters of the longest stem.
const STEM_MAX: usize = 12;

/// Task and its cues. `word*` is a stem, `=word` counts double; scripts without spaces are found as pieces of text.
const CUES: [(Task, &str); 10] = [
    (
        Task::Summarise,
        "=summar* =summary =tl;dr tldr shorten* condens* recap gist abridge* key takeaways digest \
        =zusammenfass* =fasse kürze* =résum* =resum* =riassum* =sintetizza* sintetiz* =кратк* =резюм* =сократи* \
        =总结 =摘要 =概括 =概述 =要約 =まとめ =لخص =ملخص =تلخيص",
    ),
    (
        Task::Translate,
        "=translat* =übersetz* =tradui* =traduz* =traduc* =traduce* =tradurre =перевед* =перевод* =翻译 =翻譯 =译成 =翻訳 =訳して =訳し =ترجم =ترجمة localize* localise*",
    ),
    (
        Task::Creative,
        "=poem* =haiku* =story =stories =tale =novel* =song* =lyric* =limerick* =slogan* =tagline* invent* =fictional imagine =sonnet* dialogue =toast joke* brainstorm* rewrite* rephrase* polite* friendly tone =email =letter greeting* birthday invitation* caption* blog tweet =essay \
        =gedicht* =geschichte* =erzähl* =märchen* brief =mail einladung* =poème* =histoire* =conte lettre* =cuento* =poema* =historia* carta* correo* =poesia* =racconto* =storia lettera* =conto =стих* =сказк* =рассказ* =истори* письм* =поздрав* \
        =写一首 =诗 =故事 =写一封 =邮件 =文案 =物語 =俳句 =詩 =メール =手紙 =قصيدة =قصة =رسالة",
    ),
    (
        Task::SimpleQuestion,
        "what who when where which whose is are does define meaning stands capital how many much old far tall \
        was wer wann wo welche* wie heißt hauptstadt quelle* quel qui quand où combien capitale qué quién cuándo dónde cuál cuánto* cuánt* cómo chi quando dove quale quanti quanto cosa qual onde quem que кто что когда где какой какая какие сколько столиц* \
        什么 谁 哪 多少 几 是什么 何 誰 いつ どこ どれ いくつ ですか ما من متى أين كم هل",
    ),
    (
        Task::Extract,
        "=extract* =classif* categor* =sentiment =label* identify list tag entities =parse keyword* =names dates positive negative column* field* json csv \
        =extrahier* =klassifizier* =ordne liste =extrai* =extraer =extrae =clasifica* =classe* étiquet* =estrai* =classifica* =выдел* =извлек* =извлеч* =классифиц* =определ* \
        =提取 =分类 =抽取 =列出 =抽出 =分類 =استخرج =صنف",
    ),
    (
        Task::Code,
        "=function =code =script* =implement* =program* =regex* =sql =query =class =api =endpoint* =python =rust =javascript =typescript =java =golang =bash =html =css =react =refactor* =unittest* =algorithm* =method compile* database parser* loop variable* docstring* \
        =funktion* =skript* =programmier* =implementier* =fonction* =programme* =función* =funcion* =programa* =funzione* =função* =implementa* =функци* =скрипт* =программ* =код =запрос* \
        =函数 =代码 =脚本 =编程 =实现 =関数 =コード =スクリプト =実装 =دالة =كود =برنامج",
    ),
    (
        Task::Debug,
        "=bug* =debug* =error* =exception* =crash* =fails =failing =fail =broken =fix =stacktrace =traceback =segfault* =deadlock* =leak* =hangs =panic* why doesn't work* wrong unexpected* race flaky \
        =fehler* =absturz* =stürzt =behebe* warum funktioniert =erreur* =plante* =corrige* bogue* =falla* =fallo* =corregir =arregla* =errore* =correggi* =erro =falha* =corrija* =ошибк* =падает =исправ* =баг* почему \
        =报错 =错误 =调试 =崩溃 =修复 =为什么 =エラー =バグ =デバッグ =修正 =خطأ =أصلح",
    ),
    (
        Task::Maths,
        "=calculat* =comput* =prove =proof =integral* =derivative* =equation* =solve =probabilit* =theorem* =polynomial* =matrix =eigenvalue* =prime* =divisib* =percent* =interest average sum area volume modulo fraction* expected =combinat* =permutation* =converge* =limit factor* remainder \
        =berechne* =beweis* =ableitung* =gleichung* =wahrscheinlichkeit* =löse =primzahl* =calcule* =démontre* =prouve* =dérivée* =équation* =probabilité* =résou* =calcula* =demuestra* =demonstr* =ecuación* =probabilidad* =resuelve* =derivada* =calcola* =dimostra* =equazion* =risolvi* =equaç* =resolva* =вычисл* =докаж* =уравнен* =вероятност* =производн* =интеграл* =реши* \
        =计算 =证明 =方程 =概率 =求解 =积分 =导数 =多少钱 =計算 =証明 =方程式 =確率 =解いて =求め =積分 =احسب =أثبت =معادلة =احتمال",
    ),
    (
        Task::Logic,
        "=puzzle* =riddle* =knights =knaves =liar* =truth =deduce* =infer* =logical* =logic =syllogis* =therefore =conclude* =conclusion* =contradict* =paradox* =constraint* =seated =sits =older taller if every either neither must exactly weigh* switch* =cross* \
        =rätsel* =logisch* =lügner* =schlussfolger* =folgt =énigme* =logique* =menteur* =déduis* =acertijo* =lógic* =mentiroso* =deduce* =indovinello* =logic* =bugiard* =enigma* =mentem =загадк* =логическ* =логик* =лжец* =лгун* =следует \
        =谜题 =逻辑 =推理 =说谎 =说真话 =パズル =論理 =嘘つき =推理 =لغز =منطق =كاذب",
    ),
    (
        Task::MultiStep,
        "=plan* =step =steps =strategy =strategies =roadmap* =architect* =design* =migrat* =compare* =trade =tradeoff* =evaluate* =analy* =investigat* =itinerar* =schedul* =optimi* =then =finally first second next propose* recommend* budget* phases \
        =schritt* =plane =strategie* =entwirf* =entwurf* =vergleich* =analysier* =migrier* dann anschließend =étape* =stratégie* =conçois =planifie* =compare* =analyse* ensuite =pasos =paso =diseña* =planifica* =compara* =analiza* =passo =passi =progetta* =pianifica* =confronta* =analizza* =planej* =projete* =этап* =шаг* =план* =спроектир* =разработа* =сравн* =проанализир* =стратег* \
        =计划 =步骤 =设计 =方案 =比较 =分析 =架构 =策略 =計画 =手順 =設計 =比較 =ステップ =خطة =خطوات =صمم =قارن =حلل",
    ),
];

struct Table {
    words: HashMap<&'static str, Vec<(usize, f64)>>,
    stems: HashMap<&'static str, Vec<(usize, f64)>>,
    pieces: Vec<(&'static str, usize, f64)>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Table {
            words: HashMap::new(),
            stems: HashMap::new(),
            pieces: Vec::new(),
        };
        for (task, cues) in CUES {
            let at = Task::ALL
                .iter()
                .position(|t| *t == task)
                .expect("ALL has every task");
            for cue in cues.split_whitespace() {
                let (cue, weight) = cue.strip_prefix('=').map_or((cue, 1.0), |c| (c, 2.0));
                if cue.chars().any(unspaced) {
                    table.pieces.push((cue, at, weight));
                } else if let Some(stem) = cue.strip_suffix('*') {
                    table.stems.entry(stem).or_default().push((at, weight));
                } else {
                    table.words.entry(cue).or_default().push((at, weight));
                }
            }
        }
        table
    })
}

fn unspaced(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{9FFF}' | '\u{0600}'..='\u{06FF}')
}

/// The weight of each task's cues in a text.
pub(super) fn weigh(text: &str) -> [f64; Task::ALL.len()] {
    let mut weights = [0.0; Task::ALL.len()];
    let table = table();
    let (head, tail) = ends(text);
    for (at, word) in head.iter().enumerate() {
        add(
            table,
            word,
            if at < NEAR { 1.0 } else { 0.33 },
            &mut weights,
        );
    }
    for (at, word) in tail.iter().enumerate() {
        add(
            table,
            word,
            if at < NEAR { 1.0 } else { 0.33 },
            &mut weights,
        );
    }
    if text.chars().take(2_000).any(unspaced) {
        let near: String = text.chars().take(160).collect();
        let far: String = text
            .chars()
            .rev()
            .take(160)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect();
        for (piece, at, weight) in &table.pieces {
            if near.contains(piece) || far.contains(piece) {
                weights[*at] += weight;
            }
        }
    }
    weights
}

/// The first words, and the last ones (nearest the end first) that are not among them.
fn ends(text: &str) -> (Vec<String>, Vec<String>) {
    let clean = |w: &str| {
        w.trim_matches(|c: char| !c.is_alphanumeric())
            .to_lowercase()
    };
    let mut words = text
        .split(|c: char| c.is_whitespace() || c == '-')
        .filter(|w| !w.is_empty());
    let head: Vec<String> = words.by_ref().take(LOOK).map(clean).collect();
    let tail: Vec<String> = words.rev().take(LOOK).map(clean).collect();
    (head, tail)
}

fn add(table: &Table, word: &str, near: f64, weights: &mut [f64; Task::ALL.len()]) {
    if let Some(hits) = table.words.get(word) {
        for (at, weight) in hits {
            weights[*at] += weight * near;
        }
        return;
    }
    let ends = word
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .skip(STEM_MIN - 2)
        .take(STEM_MAX);
    for end in ends {
        for (at, weight) in table.stems.get(&word[..end]).into_iter().flatten() {
            weights[*at] += weight * near;
        }
    }
}
